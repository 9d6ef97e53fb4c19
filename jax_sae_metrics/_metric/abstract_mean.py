"""The base of metrics whose value is a single mean, or a single ratio of sums, over items."""

import abc
from typing import Any, Protocol, TypeVar, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Float32

from .._abstract_metric import AbstractMetric
from .._configuration import check_num_components


@runtime_checkable  # the tests check types at run time
class _State(Protocol):
    def value(self) -> Float32[Array, "*component"]: ...

    def standard_error(self) -> Float32[Array, "*component"]: ...


State = TypeVar("State", bound=_State)


class AbstractMean(AbstractMetric[State]):
    """A metric whose state knows its value and its error: all that is left is to observe."""

    _state_type: eqx.AbstractClassVar[Any]

    @property
    @abc.abstractmethod
    def num_components(self) -> int | None:
        """Size of the component axis."""

    def __check_init__(self) -> None:
        check_num_components(self.num_components)

    def _init(self) -> State:
        return self._state_type.empty(self.num_components)

    def _compute(self, state: State) -> Float32[Array, "*component"]:
        return state.value()

    def _standard_error(self, state: State) -> Float32[Array, "*component"]:
        return state.standard_error()
