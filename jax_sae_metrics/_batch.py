"""The inputs of one call, checked once: the vocabulary that all metrics share."""

import difflib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from ._accumulator import AxisName
from ._activations import Activations
from ._configuration import component_shape
from ._items import Items
from ._reductions import at_least_float32
from ._shared_reductions import Given, SharedReductions
from ._top_k import SparseActivations, TopKActivations


class Batch:
    """The keyword arguments of `observe`, handed out as what a metric asks for.

    Masks, component indices, dtypes and shapes are dealt with here, so that a metric does not
    know of them. An input that nobody asks for is an error: see `check_all_were_read`.
    """

    def __init__(self, inputs: Mapping[str, Any], axis_name: AxisName | None = None) -> None:
        self._inputs = {name: value for name, value in inputs.items() if value is not None}
        self._read: set[str] = set()
        self._shared: dict[Any, SharedReductions] = {}
        self._batch_axes: dict[tuple[int, ...], tuple[str, tuple[int, ...]]] = {}
        self.axis_name = axis_name

    def observe(self, metric: Any) -> Any:
        """What a metric observes of this batch. It is asked twice: see `SharedReductions`."""
        jax.eval_shape(lambda: metric._observe(self))
        for shared in self._shared.values():
            shared.end_rehearsal()
        return metric._observe(self)

    def learned_activations(self, metric: object) -> Activations | SparseActivations:
        """`learned_activations`, `[*batch, component?, learned_feature]` or `TopKActivations`."""
        given = self._get("learned_activations")
        learned: Activations | SparseActivations
        if isinstance(given, TopKActivations):
            learned = self._top_k(metric, given)
        else:
            learned = self.activations(metric, "learned_activations")
        expected = getattr(metric, "num_learned_features", None)
        if expected is not None and learned.num_features != expected:
            raise ValueError(
                f"learned_activations: {_name(metric)} expects {expected} learned features, got "
                f"{learned.num_features} in {_describe(given)}. Set num_learned_features="
                f"{learned.num_features}, or pass activations of {expected} features."
            )
        return learned

    def activations(self, metric: object, *names: str) -> Activations:
        """The named inputs, `[*batch, component?, feature]` each, of the same shape."""
        arrays = {name: self._array(metric, name) for name in names}
        components = _components(metric)
        for name, array in arrays.items():
            _check_activations(metric, name, array, components)
        _check_same(metric, {name: array.shape for name, array in arrays.items()}, "shape")
        return Activations(
            arrays=tuple(arrays.values()),
            items=self._vectors(metric, names[0], arrays[names[0]]),
            shared=self._shared.setdefault(
                (names, components), SharedReductions(self._inputs, self.axis_name)
            ),
        )

    def per_feature(
        self, metric: object, name: str, activations: Activations | SparseActivations
    ) -> Given:
        """The named input, `[component?, feature]`, for the functions of activations to take."""
        shape = self._array(metric, name).shape
        expected = (*_components(metric), activations.num_features)
        if shape != expected:
            raise ValueError(
                f"{name}: {_name(metric)} expects one number for each feature, of shape "
                f"{expected} ([component?, feature]), got {shape}."
            )
        return Given(name)

    def _top_k(self, metric: object, given: TopKActivations) -> SparseActivations:
        given = lax.stop_gradient(given)
        values = given.values
        _check_activations(metric, "values of learned_activations", values, _components(metric))
        items = self._vectors(metric, "learned_activations", values)
        return SparseActivations(given, items, self._inputs)

    def _vectors(self, metric: object, given: str, array: Array) -> Items:
        """The activation vectors along the last axis of `array`, as items."""
        components = _components(metric)
        shape = array.shape[: array.ndim - 1 - len(components)]
        name, seen = self._batch_axes.setdefault(components, (given, shape))
        if seen != shape:
            raise ValueError(
                f"{given}: {_name(metric)} expects the batch axes of {name}, {seen}, got {shape}. "
                "Activations of one call belong to the same vectors."
            )
        return Items(shape, components, self._mask(metric, shape, components, ("mask",)))

    def losses(self, metric: object, *names: str) -> tuple[Items, tuple[Array, ...]]:
        """The items, and the named losses of each, float32 at least.

        The inputs are `[*items]` with `component_idx`, else `[*items, component?]`. What is handed
        out has the component axis, of size 1 with `component_idx`.
        """
        return self._per_item(metric, names, "losses", 0, ("loss_mask", "mask"))

    def logits(self, metric: object, *names: str) -> tuple[Items, tuple[Array, ...]]:
        """The items, and the named logits of each, float32 at least.

        As `losses`, with a last axis over the vocabulary. Every token has logits: the mask is that
        of the activations.
        """
        return self._per_item(metric, names, "logits", 1, ("mask",))

    def _per_item(
        self,
        metric: object,
        names: tuple[str, ...],
        what: str,
        num_inner_axes: int,
        masks: tuple[str, ...],
    ) -> tuple[Items, tuple[Array, ...]]:
        arrays = {name: at_least_float32(self._array(metric, name)) for name in names}
        shapes = {name: array.shape for name, array in arrays.items()}
        _check_same(metric, shapes, "shape")
        whole_shape = next(iter(shapes.values()))
        if len(whole_shape) < num_inner_axes:
            raise ValueError(f"{names[0]}: expected a vocabulary axis, got shape {whole_shape}.")
        shape = whole_shape[: len(whole_shape) - num_inner_axes]
        components = _components(metric)
        selected = self._component_idx(metric)
        if selected is None and components == (1,) and shape[-1:] != (1,):
            # With a single component there is nothing to choose, as in the torch version.
            selected = jnp.ones((1,), bool)
        if selected is not None:
            item_shape = shape
            arrays = {n: jnp.expand_dims(array, len(shape)) for n, array in arrays.items()}
        else:
            item_shape = shape[: len(shape) - len(components)]
            if shape[len(item_shape) :] != components:
                inner = ", vocabulary" * num_inner_axes
                raise ValueError(
                    f"{names[0]}: {_name(metric)} has num_components={_num_components(metric)} and "
                    f"was given no component_idx, so it expects {what} of shape [*items, "
                    f"component={_num_components(metric)}{inner}], got {whole_shape}. Add the "
                    f"component axis after the items, or pass component_idx= for {what} of one "
                    "component."
                )
        mask = self._mask(metric, item_shape, components, masks)
        if selected is not None:
            selected = jnp.broadcast_to(selected, (*item_shape, *components))
            mask = selected if mask is None else selected & mask
        return Items(item_shape, components, mask), tuple(arrays.values())

    def check_all_were_read(self, metric: object) -> None:
        """Raise if an input was given that none of the metrics asked for."""
        unknown = sorted(self._inputs.keys() - self._read)
        if unknown:
            raise TypeError(
                f"{', '.join(unknown)}: unknown input of {_name(metric)}, which reads "
                f"{', '.join(sorted(self._read))}. Leave it out, or correct its name."
            )

    def check_spelling(self, metric: object) -> None:
        """Raise if an input that was not read looks like a misspelling of one that could be."""
        for name in sorted(self._inputs.keys() - self._read):
            if close := difflib.get_close_matches(name, self._read, n=1, cutoff=0.8):
                raise TypeError(
                    f"{name}: unknown input of {_name(metric)}. Did you mean {close[0]}?"
                )

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self._inputs.get(name)

    def _array(self, metric: object, name: str) -> Array:
        value = self._get(name)
        if value is None:
            given = ", ".join(sorted(self._inputs)) or "nothing"
            raise TypeError(
                f"{name}: {_name(metric)} needs this input and was given {given}. "
                f"Pass {name}= as a keyword argument."
            )
        return lax.stop_gradient(as_floating(name, value))

    def _mask(
        self,
        metric: object,
        item_shape: tuple[int, ...],
        components: tuple[int, ...],
        names: tuple[str, ...],
    ) -> Bool[Array, "*items_and_component"] | None:
        given = {name: value for name in names if (value := self._get(name)) is not None}
        if not given:
            return None
        name, value = next(iter(given.items()))
        mask = jnp.asarray(value)
        if mask.dtype != bool:
            raise TypeError(
                f"{name}: expected dtype bool (True keeps an item), got {mask.dtype} of shape "
                f"{mask.shape}. Compare it, for example with {name} != 0."
            )
        full_shape = (*item_shape, *components)
        if mask.shape == full_shape:
            return mask
        if mask.shape == item_shape:
            return jnp.broadcast_to(mask[..., None], full_shape)
        allowed = f"{item_shape} (the batch axes)"
        if components:
            allowed += f" or {full_shape} (the batch axes and the component axis)"
        hint = ""
        if name == "mask" and "loss_mask" in names:
            hint = " Where losses and activations differ in shape, pass loss_mask= for the losses."
        raise ValueError(
            f"{name}: {_name(metric)} expects a mask of shape {allowed}, got {mask.shape}.{hint}"
        )

    def _component_idx(self, metric: object) -> Bool[Array, " component"] | None:
        """`component_idx` as a mask over components; None where it was not given."""
        index = self._get("component_idx")
        if index is None:
            return None
        num_components = _num_components(metric)
        if num_components is None:
            raise ValueError(
                f"component_idx: {_name(metric)} has num_components=None, hence no component axis "
                f"to index, got component_idx={index}. Set num_components, or leave it out."
            )
        is_static = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if is_static and not 0 <= index < num_components:
            raise IndexError(
                f"component_idx: expected 0 <= component_idx < num_components={num_components}, "
                f"got {index}. (Negative indices do not count from the end.)"
            )
        index = jnp.asarray(index)
        if index.shape != () or not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"component_idx: expected an integer scalar, got {index.dtype} of shape "
                f"{index.shape}. For losses of all components at once, pass them as "
                f"[*items, component] without component_idx."
            )
        # A narrow dtype might not hold the number of components.
        index = index.astype(jnp.int32) if index.dtype.itemsize < 4 else index
        # A traced index out of range selects no component, instead of the nearest one.
        return jnp.arange(num_components, dtype=index.dtype) == index


def as_floating(name: str, value: ArrayLike | TopKActivations) -> Float[Array, "..."]:
    """The input as an array; raise unless it is floating point."""
    if isinstance(value, TopKActivations):
        raise TypeError(
            f"{name}: expected an array, got TopKActivations, which metrics take as "
            "learned_activations alone (by `batch.learned_activations(self)` in `_observe`)."
        )
    if isinstance(value, tuple | list):
        kind = type(value).__name__
        raise TypeError(
            f"{name}: expected an array of floating-point dtype, got a {kind}. What jax.lax.top_k "
            "returned is for TopKActivations(values, indices, num_learned_features)."
        )
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected a floating-point dtype, got {array.dtype} of shape {array.shape}. "
            f"Cast it, for example with {name}.astype(jnp.float32)."
        )
    return array


def computable(name: str, value: ArrayLike) -> Float[Array, "..."]:
    """The input in a dtype in which it may be subtracted, squared and summed."""
    return at_least_float32(as_floating(name, value))


def _name(metric: object) -> str:
    return type(metric).__name__


def _num_components(metric: object) -> int | None:
    """A metric without the field has no component axis."""
    return getattr(metric, "num_components", None)


def _components(metric: object) -> tuple[int, ...]:
    return component_shape(_num_components(metric))


def _describe(given: Any) -> str:
    is_top_k = isinstance(given, TopKActivations)
    return "TopKActivations" if is_top_k else f"shape {jnp.shape(given)}"


def _check_activations(
    metric: object, name: str, array: Array, components: tuple[int, ...]
) -> None:
    num_components = _num_components(metric)
    component_axis = f"component={num_components}, " if components else ""
    expected = f"[*batch, {component_axis}feature]"
    if array.ndim < 2 + len(components):
        raise ValueError(
            f"{name}: {_name(metric)} with num_components={num_components} expects shape "
            f"{expected} with at least one batch axis, got shape {array.shape} with only "
            f"{array.ndim} axes. Add the missing axis, or change num_components."
        )
    if components and array.shape[-2] != num_components:
        raise ValueError(
            f"{name}: {_name(metric)} expects shape {expected}, with a component axis of size "
            f"{num_components} before the last axis, got shape {array.shape} with "
            f"{array.shape[-2]} there. Move the component axis, or change num_components."
        )


def _check_same(metric: object, shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    if len(set(shapes.values())) > 1:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{_name(metric)} expects inputs of the same {what}, got {given}.")
