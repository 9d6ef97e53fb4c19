"""The base of all metrics: a metric defines what it counts and what that means."""

import abc
import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Float32

from .._accumulator import AbstractAccumulator, combined, dense, summed
from .._arrays import AxisName, as_jax, map_nodes
from .._configuration import ONLY_READS, brief, check_choice, check_size
from .._inputs import Batch, Inputs, SizedAxis, answer
from .adding import add_observation
from .collection_state import PooledStates, accumulators_of, closed, opened, unpooled
from .constructor_call import constructor_call
from .exporting import register_nodes
from .mismatch import MismatchError, difference_of_states
from .placement import fitting, placed
from .public import public
from .state import Observation, State, check_differs
from .state_dict import from_state_dict, to_state_dict

Accumulators = TypeVar("Accumulators")

_SIZED_AXES: tuple[SizedAxis, ...] = ("component", "learned_feature", "input_feature")


class AbstractMetric(eqx.Module, Generic[Accumulators]):
    """Base of all metrics: three pure functions over mergeable accumulators.

    A metric is a frozen configuration: all its fields are static, so it hashes, compares and passes
    through `jax.jit` without a retrace. It defines `_init` (its accumulators, all empty),
    `_observe` (what it asks about one batch) and `_compute` (the value of the accumulators). If the
    answers need work before they are added, it also defines `_finish`. A metric that is a mean or a
    ratio of sums may define `_covariance`.

    The public functions below call these and are the same for every metric. All are pure and legal
    under `jit`, `scan`, `vmap`, `grad`, `pmap` and `shard_map`.

    The sizes of a metric are fields with these names: `num_components`, `num_learned_features`,
    `num_input_features`. A metric without `num_components`, or with None, has no component axis.
    Sizes are checked here; `Batch` checks the inputs against them. A field with the metadata
    `ONLY_READS` has no part in counting.

    Two class attributes say what a value is. `_axes` names the axes of each result after the
    component axis, such as `{"": ("learned_feature",)}`, with "" for a value without names. An axis
    that is called like a field has the values of that field for labels (none if the field holds one
    value alone); all others are long. `_is_running` says that the value is of a long run.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L0Norm()
        >>> state = metric.init()
        >>> state = metric.update(state, learned_activations=jnp.array([[1.0, 0.0, 2.0]]))
        >>> float(metric.compute(state))
        2.0
    """

    _axes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # One batch, or one window, says nothing: `forward` gives the value so far, `reset` keeps it.
    _is_running: ClassVar[bool] = False

    def __check_init__(self) -> None:
        if (num_components := self._sizes["component"]) is not None:
            check_size("num_components (None for no component axis)", num_components)
        for name in ("num_learned_features", "num_input_features"):
            if hasattr(self, name):
                check_size(name, getattr(self, name))

    @abc.abstractmethod
    def _init(self) -> Accumulators:
        """The empty state: a pytree whose nodes are accumulators."""

    @abc.abstractmethod
    def _observe(self, batch: Batch) -> Any:
        """Return what the metric asks about one batch: a tree of arrays and questions."""

    def _finish(self, found: Any) -> Any:
        """Return what the batch adds to each accumulator, by the names of the state.

        `found` is the tree that `_observe` returned, with answers in place of questions.
        """
        return found

    @abc.abstractmethod
    def _compute(self, state: Accumulators) -> Any:
        """The value of a state."""

    def _covariance(self, state: Accumulators) -> Any:
        """The covariances of the values of any two components; None if they are not known."""
        del state

    def _standard_error(self, state: Accumulators) -> Any:
        """The standard error of the value; None if it has none."""
        return jax.tree.map(standard_error_from, self._covariance(state))

    def _shape(self, *axes: SizedAxis) -> tuple[int, ...]:
        """The sizes of the component axis, if there is one, and of these axes."""
        sizes = (self._sizes[axis] for axis in ("component", *axes))
        return tuple(size for size in sizes if size is not None)

    @public
    def init(self, *, sharding: Sharding | None = None) -> Any:
        """Return the empty state.

        **Arguments:**

        - `sharding`: where to place the state. The spec of a `NamedSharding` is meant for a result
            per learned feature, `[component?, learned_feature]`: `PartitionSpec()` replicates it,
            and `PartitionSpec(None, "model")` splits the features of every component over the mesh
            axis `"model"`. Accumulators without a learned-feature axis take the entry of the
            component axis alone. Accumulators per input feature are replicated over `"model"`.
        """
        state = closed(self._empty())
        register_nodes(state)
        if sharding is None:
            return state
        if not isinstance(sharding, Sharding):
            raise TypeError(
                "sharding: expected a jax.sharding.Sharding such as NamedSharding(mesh, spec), got "
                f"{sharding!r}."
            )
        if not isinstance(sharding, NamedSharding):
            return jax.device_put(state, sharding)
        return placed(state, sharding, self.partition_specs(sharding.spec))

    @public
    def partition_specs(self, spec: PartitionSpec) -> Any:
        """Return the tree of a state with a `PartitionSpec` in place of each array.

        Use it for `in_specs` and `out_specs` of `jax.shard_map`, or to place a state that was
        loaded. `init(sharding=NamedSharding(mesh, spec))` places a state like this.

        **Arguments:**

        - `spec`: of a result per learned feature, `[component?, learned_feature]`. What is not per
            learned feature takes the entry of the component axis alone.
        """
        if not isinstance(spec, PartitionSpec):
            raise TypeError(f"spec: expected a jax.sharding.PartitionSpec, got {brief(spec)}.")
        return closed(self._specs_with_pools(opened(_empty(self)), spec))

    @public
    def reset(self, state: Any) -> Any:
        """Return the state at the beginning of a new window.

        It is empty, except for what is not of a window: the ages of `DeadFeatures`, moving averages
        and windows. Arrays stay on the devices where they are.
        """
        return closed(self._reset(unpooled(self._check(state))))

    @public
    def observe(self, **inputs: Any) -> Any:
        """Return what one batch adds to each accumulator, as an `Observation`.

        Its parts have the names of the state: one int32 array in place of each `Count`, one float32
        array in place of each `Total`, and a record in place of every other accumulator. A loss
        function may return it as `aux`. `combine` joins the observations of micro-batches.
        Gradients do not flow through an observation.

        **Arguments:** the batch inputs that the metric names in its documentation, by keyword. All
        metrics also take `mask`, boolean over the batch axes or the batch and component axes: the
        result is as if what is masked out (False) were absent. If both are given, metrics of losses
        take `loss_mask` in place of `mask`.

        **Raises:** at trace time, `TypeError` for a missing or unknown input or a wrong dtype,
        `ValueError` for a wrong shape.
        """
        return dense(self._observe_inputs(Inputs(inputs)))

    @public
    def combine(self, one: Any, other: Any) -> Any:
        """Return the observation of two batches together; `other` is of the later batch.

        It is associative. If all parts are plain sums, adding the observations gives the same.
        Other parts refuse to be added: the sum of two maxima, or of two positions, would be a wrong
        number.

        **Raises:** `ValueError` unless both are observations of this metric.
        """
        return combined(self._check_observation(one), self._check_observation(other))

    @public
    def accumulate(self, state: Any, observation: Any, *, axis_name: AxisName | None = None) -> Any:
        """Return the state with an observation added.

        With `axis_name`, the observations of all its devices are added.
        """
        state = opened(self._check(state))
        _check_bound(axis_name)
        return closed(self._add(state, observation, lambda a, seen: a.add(seen, axis_name)))

    @public
    def update(self, state: Any, *, axis_name: AxisName | None = None, **inputs: Any) -> Any:
        """Return the state after one more batch: `observe`, then `accumulate`.

        **Arguments:**

        - `state`: a state of this metric. The result has the same tree, shapes and dtypes.
        - `axis_name`: under `pmap`, `vmap` or `shard_map`, the axis (or tuple of axes) over which
            the batch is split. Every device then adds what all devices observed, so that a
            replicated state stays replicated. Without it the state counts this device's part only:
            call `all_reduce` once before `compute`. Never do both; `all_reduce` says when it can
            tell. Under `jit` with sharded global arrays neither is needed.
        - `inputs`: as for `observe`.
        """
        _check_bound(axis_name)
        observation = self._observe_inputs(Inputs(inputs, axis_name))
        return self.accumulate(state, observation, axis_name=axis_name)

    @public
    def forward(
        self, state: Any, *, axis_name: AxisName | None = None, **inputs: Any
    ) -> tuple[Any, Any]:
        """Return the updated state and the value of this batch alone. Arguments as for `update`.

        Where one batch says nothing (`DeadFeatures`, `MovingAverage`, `Window`), the value is that
        of the updated state. In a collection, each metric gives the value that is right for it.
        """
        _check_bound(axis_name)
        observation = self._observe_inputs(Inputs(inputs, axis_name))
        updated = self.accumulate(state, observation, axis_name=axis_name)
        if self._is_running:
            return updated, self._read("_compute", updated)
        of_batch = self.accumulate(self.init(), observation, axis_name=axis_name)
        read = closed(self._read_by_forward(unpooled(updated), unpooled(of_batch)))
        return updated, self._read("_compute", read)

    @public
    def compute(self, state: Any) -> Any:
        """Return the value of the state. If nothing was seen, means are NaN and counts 0."""
        return self._read("_compute", state)

    @public
    def standard_error(self, state: Any) -> Any:
        r"""Return the standard error of the value: how far chance may have moved it.

        Every mean and every ratio of sums has one. With numerators $a_u$ and denominators $b_u$ (1
        for a mean) of $G$ independent units, and $R = \sum a_u / \sum b_u$, the delta method gives

        $$\text{SE}(R) = \frac{1}{\left|\sum_u b_u\right|}
        \sqrt{\frac{G}{G - 1} \sum_{u=1}^{G} (a_u - R\, b_u)^2}$$

        from sums that the state keeps. The units are the items (vectors or losses), or with the
        metric's `clusters="prompts"` the entries of the first batch axis: $a_u$ and $b_u$ are then
        sums over a text. Tokens of one text are not independent, so that errors over items are too
        small for activations of texts. Squares are centred: a spread of a millionth of the mean is
        resolved. The result has the shapes of the value. It is NaN for fewer than two units, and
        wherever it cannot be resolved.

        **Raises:** `TypeError` for a metric that is neither a mean nor a ratio of sums.
        """
        return self._check_known("standard error", self._read("_standard_error", state))

    @public
    def covariance(self, state: Any) -> Any:
        r"""Return how chance moves the values of components together.

        Components see the same items, so that their values are not independent. With $R_i$, $a_u$
        and $b_u$ of each component as for `standard_error`,

        $$\text{Cov}(R_i, R_j) = \frac{G}{G - 1} \frac{\sum_{u=1}^{G} (a_{ui} - R_i\, b_{ui})
        (a_{uj} - R_j\, b_{uj})}{\sum_u b_{ui} \sum_u b_{uj}}$$

        It is float32 `[component, component]`, or a scalar without a component axis; a dictionary
        where the value is one. The root of its diagonal is the standard error. It is NaN for two
        components that never saw an item in the same call, as in a loop with `component_idx`.
        `difference` compares two components by it.

        **Raises:** `TypeError` for a metric that is neither a mean nor a ratio of sums of vectors
        or losses.
        """
        return self._check_known("covariance", self._read("_covariance", state))

    @public
    def merge(self, earlier: Any, later: Any) -> Any:
        """Return the state of both states' batches together. It is associative."""
        both = (opened(self._check(state)) for state in (earlier, later))
        merge = lambda accumulator, other: accumulator.merge(other)  # noqa: E731
        return closed(map_nodes(AbstractAccumulator, merge, *both))

    @public
    def all_reduce(self, state: Any, axis_name: AxisName) -> Any:
        """Return the state of the batches of all devices of `axis_name` together.

        Use it once, for states that `update` kept per device, without `axis_name`. A state that is
        already the sum would be counted once per device. JAX can tell the two apart in
        `jax.shard_map` with `check_vma=True`, its default. It cannot under `pmap`, `vmap` and
        `check_vma=False`, nor where devices hold copies of one state, one each.

        **Raises:** at trace time, `ValueError` for a state, or one of a collection, that is known
        to be the same on all devices of an axis: also for an empty one, which counts nothing.
        """
        given, state = state, self._check(state)
        _check_bound(axis_name)
        check_differs(unpooled(given), axis_name)
        reduce = lambda accumulator: accumulator.all_reduce(axis_name)  # noqa: E731
        return closed(map_nodes(AbstractAccumulator, reduce, opened(state)))

    @public
    def state_dict(self, state: Any) -> dict[str, Any]:
        """Return the state as nested dictionaries of NumPy arrays, to be saved in any format.

        It is `{"schema_version": ..., "metric": ..., "state": {"configuration": ..., "arrays":
        {...}}}`. The configuration is the text that a state names itself by, as UTF-8 bytes, and
        the metric is the call that makes it. In a collection, `"state"` is a dictionary of such
        entries by the names of the metrics. The arrays are copies: the state may be donated.
        """
        return to_state_dict(self._check(state), constructor_call(self))

    @public
    def from_state_dict(self, state_dict: Any, missing: Literal["error", "empty"] = "error") -> Any:
        """Return the state that `state_dict` made a dictionary of. Nothing is cast.

        The state is on the default device. To place it on a mesh, use `partition_specs`.

        **Arguments:**

        - `state_dict`: what `state_dict` returned, from a file or not; also as a flat dictionary,
            whose keys are joined by slashes, and as what `np.load` returns.
        - `missing`: whether metrics that the dictionary lacks are an error, or empty. `"empty"` is
            for a collection that has grown since.

        **Raises:** `ValueError` that names what is different: the configuration, a metric or an
        array that is missing or too many, a shape, a dtype, or a newer schema.
        """
        check_choice("missing", missing, ("error", "empty"))
        empty = self.init() if missing == "empty" else None
        try:
            return closed(from_state_dict(state_dict, _unpooled_empty(self), empty))
        except MismatchError as error:
            raise ValueError(
                f"state_dict: not of a state of {type(self).__name__}. {error}"
            ) from None

    @property
    def _sizes(self) -> dict[SizedAxis, int | None]:
        return {axis: getattr(self, f"num_{axis}s", None) for axis in _SIZED_AXES}

    @property
    def _counted_by(self) -> str:
        """The configuration, without settings that only read a state."""
        settings = (f"{name}={_normalised(value)!r}" for name, value in self._counting.items())
        return f"{type(self).__name__}({', '.join(settings)})"

    @property
    def _counting(self) -> dict[str, Any]:
        """The settings by name, without those that only read a state."""
        fields = [f for f in dataclasses.fields(self) if not f.metadata.get(ONLY_READS)]
        return {field.name: getattr(self, field.name) for field in fields}

    def _empty(self) -> Any:
        """The empty state; of a collection, the states of its metrics by name."""
        return State(self._counted_by, self._init())

    def _read_by_forward(self, updated: Any, of_batch: Any) -> Any:
        """Of two states, the one that says something."""
        return updated if self._is_running else of_batch

    def _reset(self, state: Any) -> Any:
        return state if self._is_running else jax.tree.map(_emptied, self._empty(), state)

    def _specs(self, state: Any, spec: PartitionSpec) -> Any:
        """The state, with a spec in place of each leaf."""
        axes = self._shape("learned_feature")
        specs = lambda one: one.partition_specs(lambda shape: fitting(spec, shape, axes))  # noqa: E731
        return map_nodes(AbstractAccumulator, specs, state)

    def _specs_with_pools(self, state: Any, spec: PartitionSpec) -> Any:
        """`_specs`, also of states in pools."""
        if not isinstance(state, PooledStates):
            return self._specs(state, spec)
        # Pools hold what is small, and whole on every device.
        pools = {n: pool.partition_specs(lambda _: spec) for n, pool in state.pools.items()}
        return PooledStates(self._specs(state.states, spec), pools)

    def _labels(self) -> Any:
        """For each result, the labels along each of its axes, or the name of a long one."""
        shapes = jax.eval_shape(lambda: _in_order(self._compute(accumulators_of(self.init()))))
        if isinstance(shapes, Mapping):
            return {name: self._labels_of(name, shape.ndim) for name, shape in shapes.items()}
        return self._labels_of("", shapes.ndim)

    def _labels_of(self, result: str, num_axes: int) -> tuple[tuple[Any, ...] | str, ...]:
        components = [tuple(range(size)) for size in self._shape()]
        named = [getattr(self, axis, axis) for axis in self._axes.get(result, ())]
        labels = [*components, *(label for label in named if isinstance(label, tuple | str))]
        # Axes that nobody named are long.
        return tuple(labels[:num_axes]) + ("",) * (num_axes - len(labels))

    def _first_inputs(self) -> str:
        """The inputs that the metric asks for before it could miss any."""
        asked = Inputs({})
        with contextlib.suppress(Exception):
            self._ask(asked)
        return ", ".join(f"{name}=..." for name in sorted(asked.read))

    def _ask(self, inputs: Inputs) -> Any:
        """What the metric asks about the inputs of one call."""
        return self._observe(Batch(inputs, type(self).__name__, self._sizes))

    def _to_observation(self, found: Any) -> Any:
        """What the answers add to the state."""
        return Observation(self._counted_by, self._finish(found))

    def _observe_inputs(
        self, inputs: Inputs, check: Callable[[Inputs, str], None] = Inputs.check_all_were_read
    ) -> Any:
        """What `observe` returns, but with few additions to many features still as `Scattered`.

        `check` is applied to the inputs after all metrics have read theirs.
        """
        asked = self._ask(inputs)
        check(inputs, type(self).__name__)
        inputs.check_component_idx(type(self).__name__)
        return summed(self._to_observation(answer(asked)))

    def _add(self, state: Any, observation: Any, add: Any) -> Any:
        try:
            return add_observation(state, observation, add)
        except MismatchError as error:
            raise MismatchError(
                f"observation: {error}. Pass to {type(self).__name__} what its `observe` or "
                "`combine` returned; what a metric's own `_observe` or `_finish` returns has the "
                "names of its state."
            ) from None

    def _check_observation(self, observation: Any) -> Any:
        """The observation, of JAX arrays; raise unless it is one of this metric."""
        self._add(opened(_empty(self)), observation, lambda accumulator, seen: accumulator)
        return jax.tree.map(as_jax, observation)

    def _check_known(self, name: str, spread: Any) -> Any:
        """The spread of the value; raise if there is none."""
        if spread is None:
            raise TypeError(
                f"{brief(self)} has no {name}: what it measures is neither a mean nor a ratio of "
                "sums over independent items. A metric of your own may define `_covariance`."
            )
        return spread

    def _check(self, state: Any) -> Any:
        """The state, of JAX arrays; raise unless it has this metric's configuration and shapes."""
        tree, _ = _kind_of_state(self)
        return jax.tree.unflatten(tree, self._leaves(state))

    def _leaves(self, state: Any) -> list[Any]:
        """The JAX arrays of a state; raise unless it is one of this metric."""
        leaves, tree = jax.tree.flatten(state)
        if (tree, [*map(_kind_of_array, leaves)]) == _kind_of_state(self):
            return leaves
        if tree == _kind_of_state(self)[0]:
            difference = difference_of_states(opened(state), opened(_empty(self)))
        else:
            difference = difference_of_states(state, _unpooled_empty(self))
        if difference:
            raise ValueError(
                f"state: not a state of {type(self).__name__}. {difference} Pass what `init` or "
                "`update` of this metric returned."
            )
        return [*map(as_jax, jax.tree.leaves(closed(state)))]

    def _read(self, method: str, state: Any) -> Any:
        """What a method reads from the accumulators of a state."""
        value = _compiled_read(self, method, self._leaves(state))
        return dict(value) if isinstance(value, collections.OrderedDict) else value


# Outside of `jit`, one program in place of one for each operation. It is given leaves: to take a
# large state apart a second time would cost as much as the program.
@functools.partial(jax.jit, static_argnames=("metric", "method"), inline=True)
def _compiled_read(metric: AbstractMetric[Any], method: str, leaves: list[Array]) -> Any:
    tree, _ = _kind_of_state(metric)
    accumulators = accumulators_of(jax.tree.unflatten(tree, leaves))
    return _in_order(getattr(metric, method)(accumulators))


def _in_order(value: Any) -> Any:
    """The value; if it is a dictionary, one of which JAX does not sort the names."""
    return collections.OrderedDict(value) if isinstance(value, dict) else value


@functools.lru_cache
def labels_of(metric: AbstractMetric[Any]) -> Any:
    """For each result, the labels along each of its axes, or the name of a long one."""
    return metric._labels()


@functools.lru_cache
def _empty(metric: AbstractMetric[Any]) -> Any:
    """The shapes and dtypes of a state."""
    return jax.eval_shape(metric.init)


@functools.lru_cache
def _unpooled_empty(metric: AbstractMetric[Any]) -> Any:
    """The shapes and dtypes of a state; of a collection, of its metrics' states by name."""
    return jax.eval_shape(metric._empty)


@functools.lru_cache
def _kind_of_state(metric: AbstractMetric[Any]) -> tuple[Any, list[Any]]:
    """The tree of a state, and the shapes and dtypes of its arrays."""
    leaves, tree = jax.tree.flatten(_empty(metric))
    return tree, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _kind_of_array(leaf: Any) -> Any:
    """The shape and dtype of a JAX array; None for all else."""
    return (leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array) else None


def standard_error_from(covariance: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """The root of the diagonal; of a scalar, its root."""
    variance = jnp.diagonal(covariance) if covariance.ndim else covariance
    # Rounding alone can make it negative; NaN stays NaN.
    return jnp.sqrt(jnp.maximum(variance, 0))


def check_metric(name: str, value: Any) -> None:
    """Raise unless `value` is a metric."""
    if isinstance(value, AbstractMetric):
        return
    hint = " Call the class to make an instance." if isinstance(value, type) else ""
    raise TypeError(f"{name}: expected a metric, got {brief(value)}.{hint}")


def _normalised(value: Any) -> Any:
    """One form for values that compare equal: 0.0 becomes 0."""
    if isinstance(value, tuple):
        return tuple(map(_normalised, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _emptied(empty: Array, leaf: Array) -> Array:
    """The empty array, on the devices of another one, and varying like it."""
    return jnp.where(jnp.zeros_like(leaf, bool), leaf, empty)


def _check_bound(axis_name: AxisName | None) -> None:
    if axis_name is None:
        return
    if any(isinstance(name, int) for name in jax.tree.leaves(axis_name)):
        raise TypeError(
            f"axis_name={axis_name!r}: expected the name of an axis of devices, or a tuple of "
            "names. Axes of the inputs are not named."
        )
    try:
        lax.axis_size(axis_name)
    except NameError:
        raise NameError(
            f"axis_name={axis_name!r} is not bound here. Call this inside `jax.shard_map`, "
            f"`jax.pmap` or `jax.vmap` with axis_name={axis_name!r}, "
            "or leave axis_name out: under `jax.jit` with sharded arrays it is not needed."
        ) from None
