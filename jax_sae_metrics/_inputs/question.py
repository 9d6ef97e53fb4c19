"""What a metric asks about activations, as data, and how all questions are answered together."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, NoReturn

import numpy as np
from jaxtyping import PyTree

from .._arrays import map_nodes, nodes_of
from .._reductions import Reduction


@dataclasses.dataclass(frozen=True, eq=False)
class Question(np.lib.mixins.NDArrayOperatorsMixin):
    """A promise of an array that will be computed from activations.

    `_observe` returns it in place of the array. All questions of a collection are answered
    together, in one read of the activations. Until then there is no array to calculate with.
    """

    asked_of: Any  # the activations
    reductions: tuple[Reduction, ...]
    answer_from: Callable[..., Any]  # takes the results of the reductions

    @property
    def _message(self) -> str:
        return (
            f"This is a question ({self.reductions[-1].kind}) and has no value yet: it is answered "
            "after `_observe` has returned it. Return it as it is, and do the rest in "
            "`_finish(self, found)`, which gets the same tree with arrays in it (in a mean, in "
            "`_of_each`)."
        )

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError(self._message)

    def _refuse_to_jax(self) -> NoReturn:
        raise ValueError(self._message)  # JAX replaces a TypeError by its own

    # NumPy's mixin turns every operator into a ufunc. JAX looks for `__jax_array__`.
    __array_ufunc__ = __array__ = _refuse
    __jax_array__ = property(_refuse_to_jax)
    __bool__ = __int__ = __float__ = __len__ = __iter__ = __getitem__ = _refuse
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        # JAX, NumPy and copying look for such names to see what an object can do.
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


def answer(asked: PyTree) -> PyTree:
    """The tree with the answer in place of each question. Activations are read once for all."""
    questions = nodes_of(Question, asked)
    wanted: dict[Any, dict[Hashable, Reduction]] = {}
    for question in questions:
        of_same = wanted.setdefault(question.asked_of, {})
        of_same.update((reduction.key, reduction) for reduction in question.reductions)
    found = {
        activations: dict(
            zip(reductions, activations.find(tuple(reductions.values())), strict=True)
        )
        for activations, reductions in wanted.items()
    }

    def answered(question: Question) -> Any:
        results = (found[question.asked_of][reduction.key] for reduction in question.reductions)
        return question.answer_from(*results)

    return map_nodes(Question, answered, asked)
