"""The base of metrics of how long ago each learned feature fired."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Int32

from ..._accumulator import MAX_AGE, LastSeen
from ..._arrays import as_boolean
from ..._configuration import ONLY_READS, as_tuple, check_in_order, check_size
from ..._core import State
from ..._inputs import Batch
from .firing import AbstractFiring


class FiringAges(eqx.Module):
    """When each learned feature last fired."""

    last_fired: LastSeen


class AbstractFiringAges(AbstractFiring[FiringAges]):
    """A metric of how long ago each learned feature fired."""

    num_learned_features: int = eqx.field(static=True)
    num_components: int | None = eqx.field(static=True, default=None)
    after_tokens: int | tuple[int, ...] = eqx.field(
        static=True, converter=as_tuple, default=10_000_000, metadata={ONLY_READS: True}
    )
    threshold: float = eqx.field(static=True, default=0.0)
    absolute: bool = eqx.field(static=True, default=False)
    _axes: ClassVar = {"": ("after_tokens",)}
    _is_running: ClassVar = True

    def __check_init__(self) -> None:
        if isinstance(self.after_tokens, tuple):
            check_in_order("after_tokens", self.after_tokens)
        for tokens in self._all_after_tokens:
            _check_age(tokens)

    def is_dead(
        self, state: State[FiringAges], after_tokens: Any = None
    ) -> Bool[Array, "*component learned_feature"]:
        """Return which features have not fired for at least this number of tokens.

        Use it for an auxiliary loss on dead features, for ghost gradients, or for resampling.
        Where nothing was seen, no feature is dead.

        **Arguments:**

        - `after_tokens`: a number of tokens; by default that of the metric, if it has only one.

        **Raises:** `ValueError` for a number that is not a positive integer up to $2^{30}$, or if
        the metric has several numbers and none is given.
        """
        if after_tokens is None:
            if len(self._all_after_tokens) != 1:
                raise ValueError(
                    f"after_tokens: this metric has {self.after_tokens}. Say which is meant, such "
                    f"as is_dead(state, after_tokens={self._all_after_tokens[0]})."
                )
            (after_tokens,) = self._all_after_tokens
        _check_age(after_tokens)
        return self.tokens_since_fired(state) >= after_tokens

    def tokens_since_fired(
        self, state: State[FiringAges]
    ) -> Int32[Array, "*component learned_feature"]:
        """Return how many tokens ago each feature last fired, up to 2^30; 0 if at the last token.

        Use it to resample the features that are dead. One that never fired is as old as the run.
        """
        state = self._check(state)
        return state.accumulators.last_fired.age()

    def mark_fired(self, state: State[FiringAges], features: ArrayLike) -> State[FiringAges]:
        """Return a state in which these features fired at the last token, whether they did or not.

        Use it for features that were resampled: they then get as much time as any other.

        **Raises:** `TypeError` unless `features` is boolean, `ValueError` unless it has the shape
        `[component?, learned_feature]`.
        """
        state = self._check(state)
        marks = as_boolean("features", features, "marks a feature")
        last_fired = state.accumulators.last_fired
        shape = last_fired.position.shape
        if marks.shape != shape:
            raise ValueError(
                f"features: expected shape {shape}, True for each feature to mark, got "
                f"{marks.shape}."
            )
        marked = FiringAges(last_fired=last_fired.happened(marks))
        return State(state.counted_by, marked)

    def _init(self) -> FiringAges:
        return FiringAges(last_fired=LastSeen.zeros(self._shape("learned_feature")))

    def _observe(self, batch: Batch) -> dict[str, Any]:
        return {"last_fired": batch.learned_activations.last_per_feature(self._fires)}

    @property
    def _all_after_tokens(self) -> tuple[Any, ...]:
        one_or_several = self.after_tokens
        return one_or_several if isinstance(one_or_several, tuple) else (one_or_several,)

    def _num_dead(self, state: FiringAges) -> Int[Array, "*component_and_after_tokens"]:
        """How many features are dead, for each number of tokens."""
        age = state.last_fired.age()
        counts = [jnp.sum(age >= tokens, axis=-1, dtype=int) for tokens in self._all_after_tokens]
        return jnp.stack(counts, axis=-1) if isinstance(self.after_tokens, tuple) else counts[0]


def _check_age(tokens: Any) -> None:
    check_size("after_tokens", tokens)
    if tokens > MAX_AGE:
        raise ValueError(
            f"after_tokens: expected at most 2**30 tokens, where ages end, got {tokens}."
        )
