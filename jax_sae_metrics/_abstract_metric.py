"""The one abstract base: a metric writes three functions, everything else is derived here."""

import abc
from typing import Any, Generic, TypeVar

import chex
import equinox as eqx
import jax
from jax import lax
from jax.sharding import NamedSharding, Sharding
from jaxtyping import Array, PyTree

from ._accumulator import AbstractAccumulator, AxisName, Scattered
from ._batch import Batch

State = TypeVar("State")


class AbstractMetric(eqx.Module, Generic[State]):
    """Base of all metrics: three pure functions over mergeable accumulators.

    A metric is a frozen configuration: all its fields are static, so it hashes, compares and
    passes through `jax.jit` without a retrace. It writes `_init` (which accumulators there are,
    all empty), `_observe` (what one batch adds to each) and `_compute` (what they mean). The
    public functions below are derived from those and the same for every metric. All are pure and
    legal under `jit`, `scan`, `vmap`, `grad`, `pmap` and `shard_map`. A metric that is a mean or a
    ratio of sums may also write `_standard_error`, of its state.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Norm()
        >>> state = metric.init()
        >>> state = metric.update(state, learned_activations=jnp.array([[1.0, 0.0, 2.0]]))
        >>> float(metric.compute(state))
        2.0
    """

    @abc.abstractmethod
    def _init(self) -> State:
        """The empty state: a pytree whose nodes are accumulators."""

    @abc.abstractmethod
    def _observe(self, batch: Batch) -> State:
        """What `batch` adds: the structure of the state, a plain array for each accumulator.

        Called twice for a batch: first a rehearsal under `jax.eval_shape`, which tells what sums of
        the activations are needed.
        """

    @abc.abstractmethod
    def _compute(self, state: State) -> Any:
        """The value of a state."""

    def _standard_error(self, state: State) -> Any:
        """The standard error of the value; None if it has none."""
        del state

    def init(self, *, sharding: Sharding | None = None) -> State:
        """Return the empty state.

        **Arguments:**

        - `sharding`: where to place it. The spec of a `NamedSharding` is that of a per-feature
            result, `[component?, learned_feature]`: `PartitionSpec()` replicates, with
            `PartitionSpec(None, "model")` the features of every component are split over the mesh
            axis `"model"`. Accumulators with fewer axes take the leading part of the spec.
        """
        state = self._init()
        if sharding is None:
            return state
        if not isinstance(sharding, Sharding):
            raise TypeError(
                "sharding: expected a jax.sharding.Sharding such as NamedSharding(mesh, spec), got "
                f"{sharding!r}."
            )
        return jax.tree.map(lambda leaf: jax.device_put(leaf, _fit(sharding, leaf)), state)

    def observe(self, **inputs: Any) -> State:
        """Return what one batch adds to each accumulator, as plain arrays.

        The result has the structure of the state, with one int32 array in place of each `Count`
        and one float32 array in place of each `Total`. It may leave a loss function as `aux` and
        be summed over micro-batches. Gradients do not flow through it.

        **Arguments:** the batch inputs that the metric names in its documentation, by keyword.
        All metrics also take `mask`, boolean over the batch axes or the batch and component axes:
        what is masked out (False) is as if it had not been there. Metrics of losses take
        `loss_mask` in its place where both are given.

        **Raises:** at trace time, `TypeError` for a missing or unknown input or a wrong dtype,
        `ValueError` for a wrong shape.
        """
        return jax.tree.map(
            lambda node: node.dense() if isinstance(node, Scattered) else node,
            self._observed(inputs),
            is_leaf=lambda node: isinstance(node, Scattered),
        )

    def accumulate(
        self, state: State, observation: State, *, axis_name: AxisName | None = None
    ) -> State:
        """Return the state with an observation added, summed over `axis_name` where it is given."""
        self._check(state)
        if axis_name is not None:
            _check_bound(axis_name)
        treedef: Any
        accumulators, treedef = jax.tree.flatten(state, is_leaf=_is_accumulator)
        try:
            observed = treedef.flatten_up_to(observation)
        except ValueError as error:
            raise ValueError(
                f"observation: expected what `observe` of {self} returns, got "
                f"{eqx.tree_pformat(observation)}: {error}"
            ) from None
        added = [
            accumulator.add(seen, axis_name)
            for accumulator, seen in zip(accumulators, observed, strict=True)
        ]
        return jax.tree.unflatten(treedef, added)

    def update(self, state: State, *, axis_name: AxisName | None = None, **inputs: Any) -> State:
        """Return the state after one more batch: `observe`, then `accumulate`.

        **Arguments:**

        - `state`: of this metric. Its tree, shapes and dtypes are those of the result.
        - `axis_name`: under `pmap`, `vmap` or `shard_map`, the axis (or tuple of axes) over which
            the batch is split. Every device then adds what all devices observed, so that a
            replicated state stays replicated. Without it the state counts this device's part
            only; then call `all_reduce` once before `compute`, never both. Under `jit` with
            sharded global arrays neither is needed.
        - `inputs`: as for `observe`.
        """
        observation = self._observed(inputs, axis_name)
        return self.accumulate(state, observation, axis_name=axis_name)

    def forward(
        self, state: State, *, axis_name: AxisName | None = None, **inputs: Any
    ) -> tuple[State, Any]:
        """Return the updated state and the value of this batch alone. Arguments as `update`."""
        batch_state = self.update(self._init(), axis_name=axis_name, **inputs)
        return self.merge(state, batch_state), self._compute(batch_state)

    def compute(self, state: State) -> Any:
        """Return the value of the state: NaN for ratios and means of nothing, 0 for counts."""
        self._check(state)
        return self._compute(state)

    def standard_error(self, state: State) -> Any:
        r"""Return the standard error of the value: how far chance may have moved it.

        For every mean and every ratio of sums. With numerators $a_n$, denominators $b_n$ (1 for a
        mean) and $R = \sum a_n / \sum b_n$, by the delta method

        $$\text{SE}(R) = \frac{1}{\left|\sum_n b_n\right|}
        \sqrt{\frac{N}{N - 1} \sum_{n=1}^{N} (a_n - R\, b_n)^2}$$

        from sums of squares and products kept in the state. It takes the $N$ items (vectors or
        losses) for independent: tokens of one text are not quite, so that the true error is
        somewhat larger. Shapes are those of the value; NaN for fewer than two items. Values close
        to constant lose digits: the squares are not centred, so that a standard deviation of less
        than a thousandth of the mean is not resolved.

        **Raises:** `TypeError` for a metric that is neither a mean nor a ratio of sums.
        """
        self._check(state)
        error = self._standard_error(state)
        if error is None:
            raise TypeError(
                f"{self} has no standard error: what it measures is neither a mean nor a ratio of "
                "sums over independent items. A metric of your own may define `_standard_error`."
            )
        return error

    def merge(self, earlier: State, later: State) -> State:
        """Return the state of both states' batches together. Associative."""
        self._check(earlier)
        self._check(later)
        return jax.tree.map(
            lambda accumulator, other: accumulator.merge(other),
            earlier,
            later,
            is_leaf=_is_accumulator,
        )

    def all_reduce(self, state: State, axis_name: AxisName) -> State:
        """Return the state of the batches of all devices of `axis_name` together.

        For states that differ per device, kept by `update` without `axis_name`. A state that is
        already the same on all devices would be counted once per device.
        """
        self._check(state)
        _check_bound(axis_name)
        return jax.tree.map(
            lambda accumulator: accumulator.all_reduce(axis_name), state, is_leaf=_is_accumulator
        )

    def _observed(self, inputs: dict[str, Any], axis_name: AxisName | None = None) -> State:
        """What `observe` returns, except that few additions to many features stay as they are."""
        if axis_name is not None:
            _check_bound(axis_name)
        batch = Batch(inputs, axis_name)
        observation = batch.observe(self)
        batch.check_all_were_read(self)
        return observation

    def _check(self, state: State) -> None:
        """Raise unless `state` has the tree, shapes and dtypes of this metric's states."""
        expected = jax.eval_shape(self._init)
        try:
            chex.assert_trees_all_equal_structs(state, expected)
            chex.assert_trees_all_equal_shapes_and_dtypes(state, expected)
        except AssertionError:
            raise ValueError(
                f"state: not a state of {self}. Pass what `init` or `update` of this metric "
                "returned; call under `jax.vmap` if it has an axis of models or devices."
                f"\nExpected: {eqx.tree_pformat(expected, struct_as_array=True)}"
                f"\nGot: {eqx.tree_pformat(state)}"
            ) from None


def check_metric(name: str, value: Any) -> None:
    """Raise unless `value` is a metric."""
    if isinstance(value, AbstractMetric):
        return
    hint = " Call the class to make an instance." if isinstance(value, type) else ""
    raise TypeError(f"{name}: expected a metric, got {value!r}.{hint}")


def _is_accumulator(node: PyTree) -> bool:
    return isinstance(node, AbstractAccumulator)


def _fit(sharding: Sharding, leaf: Array) -> Sharding:
    """The sharding of a per-feature result, cut to the axes that `leaf` has."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, type(sharding.spec)(*sharding.spec[: leaf.ndim]))
    return sharding


def _check_bound(axis_name: AxisName) -> None:
    try:
        lax.axis_size(axis_name)
    except NameError:
        raise NameError(
            f"axis_name={axis_name!r} is not bound here. Call this inside `jax.shard_map`, "
            f"`jax.pmap` or `jax.vmap` with axis_name={axis_name!r}, "
            "or leave axis_name out: under `jax.jit` with sharded arrays it is not needed."
        ) from None
