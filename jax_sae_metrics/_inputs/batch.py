"""The inputs of one call, checked once: the vocabulary that all metrics share."""

import copy
import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from .._arrays import (
    AxisName,
    Size,
    as_array,
    as_boolean,
    as_floating,
    at_least_float32,
    is_array,
    not_an_array,
    repeated,
)
from .activations import AbstractActivations, DenseActivations
from .items import Items
from .sparse import SparseActivations
from .sparse_entries import SparseEntries
from .top_k import TopKActivations
from .top_k_entries import TopKEntries

SizedAxis: TypeAlias = Literal["component", "learned_feature", "input_feature"]

# The last axis of each input.
_FEATURES: dict[str, SizedAxis] = {
    "source_activations": "input_feature",
    "decoded_activations": "input_feature",
    "learned_activations": "learned_feature",
    "true_activations": "learned_feature",
}


_MASKS = ("mask", "loss_mask")


class Inputs:
    """The keyword arguments of one call, and what has been made of them so far.

    An input that nobody reads is an error: see `check_all_were_read`.
    """

    def __init__(self, given: Mapping[str, Any], axis_name: AxisName | None = None) -> None:
        self.axis_name = axis_name
        # Metrics that ask for the same thing get the same object.
        self.activations: dict[Any, AbstractActivations] = {}
        self.constants: dict[str, Array] = {}
        self.batch_axes: dict[tuple[int, ...], tuple[str, tuple[Size, ...]]] = {}
        self._given = {name: value for name, value in given.items() if value is not None}
        self.read: set[str] = set()
        self.finite_only = False
        self._names: Mapping[str, str] = {}

    def renamed(self, names: Mapping[str, str]) -> "Inputs":
        """The same inputs for a metric that reads some of them under other names."""
        view = copy.copy(self)
        view._names = {**self._names, **{name: self.actual(other) for name, other in names.items()}}
        return view

    def only_finite(self, finite_only: bool) -> "Inputs":
        """The same inputs for metrics that leave out what is not finite, or do not."""
        view = copy.copy(self)
        view.finite_only = finite_only
        return view

    def actual(self, name: str) -> str:
        """The name in the call of what a metric calls by this name."""
        return self._names.get(name, name)

    def get(self, name: str) -> Any:
        """The input of this actual name; None if it was not given."""
        self.read.add(name)
        return self._given.get(name)

    def required(self, name: str, reader: str) -> Any:
        """The input of this actual name; raise if it was not given."""
        value = self.get(name)
        if value is None:
            given = ", ".join(sorted(self._given)) or "nothing"
            alike = difflib.get_close_matches(name, self._given, n=1, cutoff=0.95)
            hint = f"Pass {name}= as a keyword argument"
            hint += f": is {alike[0]} a misspelling of it?" if alike else "."
            raise TypeError(f"{name}: {reader} needs this input and was given {given}. {hint}")
        return value

    def check_all_were_read(self, reader: str) -> None:
        """Raise if an input was given that none of the metrics asked for."""
        unknown = sorted(self._given.keys() - self.read)
        if unknown:
            raise TypeError(
                f"{', '.join(unknown)}: unknown input of {reader}, which reads "
                f"{', '.join(sorted(self.read))}. Leave it out, or correct its name."
            )

    def check_component_idx(self, reader: str) -> None:
        """Raise if activations are given beside the index of one component.

        A loop over components would count the activations, which are of all components, every time.
        """
        of_components = [names for _, names, components, _ in self.activations if components]
        if of_components and self._given.get(self.actual("component_idx")) is not None:
            raise ValueError(
                f"component_idx: {reader} was given {', '.join(of_components[0])} too, which are "
                "of all components and would count in every call. Update the metrics of losses and "
                "of activations apart, or pass the losses of all components as [*items, component]."
            )

    def check_spelling(self, reader: str) -> None:
        """Raise if an input that was not read looks like a misspelling of one that could be."""
        for name in sorted(self._given.keys() - self.read):
            if close := difflib.get_close_matches(name, self.read, n=1, cutoff=0.8):
                raise TypeError(f"{name}: unknown input of {reader}. Did you mean {close[0]}?")


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch as one metric sees it: its inputs by name, checked, with components and mask.

    Masks, component indices, dtypes and shapes are handled here, so that no metric has to.
    """

    inputs: Inputs
    reader: str  # the metric's name
    sizes: Mapping[SizedAxis, int | None]  # None where the metric does not say

    @property
    def axis_name(self) -> AxisName | None:
        """The axis over which devices split the batch, if it is named."""
        return self.inputs.axis_name

    @property
    def learned_activations(self) -> AbstractActivations:
        """`learned_activations`, `[*batch, component?, learned_feature]`, or their entries."""
        given = self.inputs.get(self.inputs.actual("learned_activations"))
        make: Callable[..., AbstractActivations] = self._dense
        if isinstance(given, TopKActivations):
            make = self._top_k
        elif isinstance(given, SparseActivations):
            make = self._sparse
        return self._shared(("learned_activations",), make)

    def with_nonfinite(self) -> "Batch":
        """The batch with what is not finite, where the collection leaves it out."""
        return dataclasses.replace(self, inputs=self.inputs.only_finite(False))

    @staticmethod
    def is_of_activations(name: str) -> bool:
        """Whether an input of this name has an axis of features."""
        return name in _FEATURES

    def has(self, name: str) -> bool:
        """Whether the named input was given."""
        return self.inputs.get(self.inputs.actual(name)) is not None

    def activations(self, *names: str) -> AbstractActivations:
        """The named inputs, `[*batch, component?, feature]` each, of the same shape.

        A component axis of size 1 is the same for all components.
        """
        return self._shared(names, self._dense)

    def per_feature(
        self, name: str, activations: AbstractActivations
    ) -> Float[Array, "*component feature"]:
        """The named input, one number for each feature of activations, as a function's argument."""
        name = self.inputs.actual(name)
        if name not in self.inputs.constants:
            self.inputs.constants[name] = at_least_float32(self._array(name))
        constant = self.inputs.constants[name]
        expected = (*self._components, activations.num_features)
        if constant.shape != expected:
            raise ValueError(
                f"{name}: {self.reader} expects one number for each feature, of shape {expected} "
                f"([component?, feature]), got {constant.shape}."
            )
        return constant

    def integers(self, name: str, activations: AbstractActivations) -> Int32[Array, "*batch"]:
        """The named input, one integer for each place of the batch, whatever the component."""
        name = self.inputs.actual(name)
        value = self.inputs.required(name, self.reader)
        # JAX would cut them.
        is_wide = isinstance(value, np.ndarray) and value.dtype in (np.int64, np.uint64, np.uint32)
        if is_wide and np.any((value < -(2**31)) | (value >= 2**31)):
            raise ValueError(f"{name}: {self.reader} expects integers that int32 can hold.")
        integers = as_array(name, value, "an array of integer dtype")
        if not jnp.issubdtype(integers.dtype, jnp.integer):
            raise TypeError(f"{name}: expected an integer dtype, got {integers.dtype}.")
        if integers.shape != activations.items.shape:
            raise ValueError(
                f"{name}: {self.reader} expects one integer for each vector, of shape "
                f"{activations.items.shape} (the batch axes), got {integers.shape}."
            )
        return lax.stop_gradient(integers).astype(jnp.int32)

    def losses(self, *names: str) -> tuple[Items, tuple[Array, ...]]:
        """The items, and the named losses of each, float32 at least.

        The inputs are `[*items]` with `component_idx`, else `[*items, component?]`. The results
        have the component axis, of size 1 with `component_idx`.
        """
        return self._per_item(names, "losses", 0, ("loss_mask", "mask"))

    def logits(self, *names: str) -> tuple[Items, tuple[Array, ...]]:
        """The items, and the named logits of each, float32 at least.

        As for `losses`, with a last axis over the vocabulary. Every token has logits, so that the
        mask of the activations applies.
        """
        return self._per_item(names, "logits", 1, ("mask",))

    def numbers(self, name: str) -> tuple[Items, Array]:
        """The items, and the named numbers of each, float32 at least.

        The input is `[*items, component?]`, or a scalar or `[component]`: one item, to which no
        mask applies.
        """
        name = self.inputs.actual(name)
        numbers = at_least_float32(self._array(name))
        if numbers.ndim == 0:
            numbers = jnp.broadcast_to(numbers, self._components)
        shape = numbers.shape[: numbers.ndim - len(self._components)]
        if numbers.shape[len(shape) :] != self._components:
            raise ValueError(
                f"{name}: {self.reader} with num_components={self._num_components} expects a "
                f"scalar, or a last axis of that size, [*items, component], got {numbers.shape}."
            )
        items = Items(shape, self._components, self._fitting_mask(name, shape))
        return self._kept(items, numbers), numbers

    @property
    def _num_components(self) -> int | None:
        return self.sizes["component"]

    @property
    def _components(self) -> tuple[int, ...]:
        return () if self._num_components is None else (self._num_components,)

    def _shared(
        self, names: tuple[str, ...], make: Callable[..., AbstractActivations]
    ) -> AbstractActivations:
        """One object for all metrics that ask for the same inputs."""
        axis = _FEATURES.get(names[0])
        names = tuple(self.inputs.actual(name) for name in names)
        mask = self.inputs.actual("mask"), self.inputs.finite_only
        key = (make.__name__, names, self._components, mask)
        if key not in self.inputs.activations:
            self.inputs.activations[key] = make(*names)
        activations = self.inputs.activations[key]
        self._check_num_features(names[0], axis, activations)
        return activations

    def _dense(self, *names: str) -> DenseActivations:
        self.inputs.read.update(names)
        arrays = {name: self._array(name) for name in names}
        for name, array in arrays.items():
            self._check_axes(name, array.shape)
            self._check_not_empty(name, array, "feature")
        self._check_same_shape({n: self._whole_shape(x.shape) for n, x in arrays.items()})
        items = self._vectors(names[0], arrays[names[0]].shape)
        items = self._kept(items, *arrays.values(), num_inner_axes=1)
        return DenseActivations(tuple(arrays.values()), items, self.axis_name)

    def _top_k(self, name: str) -> TopKEntries:
        given: TopKActivations = self.inputs.get(name)
        values = as_array(f"values of {name}", given.values)
        indices = as_array(f"indices of {name}", given.indices)
        self._check_axes(f"values of {name}", values.shape)
        values, indices = (repeated(x, self._whole_shape(x.shape)) for x in (values, indices))
        given = lax.stop_gradient(TopKActivations(values, indices, given.num_learned_features))
        items = self._vectors(name, values.shape)
        items = self._kept(items, given.without_padding(), num_inner_axes=1)
        return TopKEntries(given, items)

    def _sparse(self, name: str) -> SparseEntries:
        given: SparseActivations = self.inputs.get(name)
        values, vectors, features = (
            as_array(f"{field} of {name}", getattr(given, field))
            for field in ("values", "vector_indices", "feature_indices")
        )
        self._check_axes(f"shape of {name}", given.shape)
        given = SparseActivations(values, vectors, features, given.shape)
        given = lax.stop_gradient(given.spread(self._whole_shape(given.shape)))
        entries = SparseEntries(given, self._vectors(name, given.shape))
        if self.inputs.finite_only:
            num_nonfinite = entries.total_per_vector(~jnp.isfinite(given.without_padding()))
            entries = dataclasses.replace(entries, items=entries.items.only(num_nonfinite == 0))
        return entries

    def _array(self, name: str) -> Array:
        value = self.inputs.required(name, self.reader)
        if isinstance(value, TopKActivations | SparseActivations):
            raise TypeError(
                f"{name}: {self.reader} expects an array here, with an entry for every feature, "
                f"got {type(value).__name__}."
            )
        return lax.stop_gradient(as_floating(name, value))

    def _whole_shape(self, shape: tuple[Size, ...]) -> tuple[Size, ...]:
        """The shape of activations, with an entry for every component."""
        return (*shape[: len(shape) - 1 - len(self._components)], *self._components, shape[-1])

    def _vectors(self, given: str, shape: tuple[Size, ...]) -> Items:
        """The activation vectors along the last axis of an array of this shape, as items."""
        components = self._components
        shape = shape[: len(shape) - 1 - len(components)]
        name, seen = self.inputs.batch_axes.setdefault(components, (given, shape))
        if seen != shape:
            raise ValueError(
                f"{given}: {self.reader} expects the batch axes of {name}, {seen}, got {shape}. "
                "Activations of one call belong to the same vectors."
            )
        return Items(shape, components, self._mask(given, shape, ("mask",)))

    def _per_item(
        self, names: tuple[str, ...], what: str, num_inner_axes: int, masks: tuple[str, ...]
    ) -> tuple[Items, tuple[Array, ...]]:
        names = tuple(self.inputs.actual(name) for name in names)
        self.inputs.read.update(names)
        arrays = {name: at_least_float32(self._array(name)) for name in names}
        self._check_same_shape({name: array.shape for name, array in arrays.items()})
        whole_shape = arrays[names[0]].shape
        if len(whole_shape) < num_inner_axes:
            raise ValueError(f"{names[0]}: expected a vocabulary axis, got shape {whole_shape}.")
        if num_inner_axes:
            self._check_not_empty(names[0], arrays[names[0]], "token of the vocabulary")
        shape = whole_shape[: len(whole_shape) - num_inner_axes]
        components, selected = self._components, self._component_idx()
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
                    f"{names[0]}: {self.reader} has num_components={self._num_components} and was "
                    f"given no component_idx, so it expects {what} of shape [*items, "
                    f"component={self._num_components}{inner}], got {whole_shape}. Add the "
                    f"component axis after the items, or pass component_idx= for {what} of one "
                    "component."
                )
        mask = self._mask(names[0], item_shape, masks)
        if selected is not None:
            selected = jnp.broadcast_to(selected, (*item_shape, *components))
            mask = selected if mask is None else selected & mask
        items = Items(item_shape, components, mask)
        items = self._kept(items, *arrays.values(), num_inner_axes=num_inner_axes)
        return items, tuple(arrays.values())

    def _kept(self, items: Items, *arrays: Array, num_inner_axes: int = 0) -> Items:
        """The items, without those that are not finite if the collection leaves them out."""
        if self.inputs.finite_only:
            for array in arrays:
                inner = tuple(range(array.ndim - num_inner_axes, array.ndim))
                items = items.only(jnp.all(jnp.isfinite(array), axis=inner))
        return items

    def _mask(
        self, of: str, item_shape: tuple[Size, ...], names: tuple[str, ...]
    ) -> Bool[Array, "*items_and_component"] | None:
        """The first given mask of these names, for the items of the input `of`."""
        called = [name for name in names if self.has(name)]
        if not called:
            return None
        name = self.inputs.actual(called[0])
        value = self.inputs.get(name)
        mask = as_boolean(name, value, "keeps an item")
        full_shape = (*item_shape, *self._components)
        if mask.shape == full_shape:
            return mask
        if mask.shape == item_shape:
            mask = mask[..., None]
        if mask.shape == (*item_shape, *(1 for _ in self._components)):
            return jnp.broadcast_to(mask, full_shape)
        allowed = f"{item_shape} (the batch axes of {of})"
        if self._components:
            allowed += f" or {full_shape} (and its component axis)"
        hint = ""
        if self._num_components is None and mask.shape == item_shape[:-1]:
            hint = f" If the axis of size {item_shape[-1]} is over components, set num_components."
        elif called[0] == "mask" and "loss_mask" in names:
            hint = " Where losses and activations differ in shape, pass loss_mask= for the losses."
        raise ValueError(
            f"{name}: {self.reader} expects a mask of shape {allowed}, got {mask.shape}.{hint}"
        )

    def _fitting_mask(
        self, of: str, item_shape: tuple[Size, ...]
    ) -> Bool[Array, "*items_and_component"] | None:
        """The mask of the shape of the items, `mask` before `loss_mask`; none for one item."""
        of_components = (), self._components, tuple(1 for _ in self._components)
        shapes = [(*item_shape, *components) for components in of_components]
        given = {n: np.shape(self.inputs.get(self.inputs.actual(n))) for n in _MASKS if self.has(n)}
        fitting = [n for n, shape in given.items() if shape in shapes]
        return self._mask(of, item_shape, tuple(fitting[:1] or given)) if item_shape else None

    def _component_idx(self) -> Bool[Array, " component"] | None:
        """`component_idx` as a mask over components; None where it was not given."""
        index = self.inputs.get(self.inputs.actual("component_idx"))
        num_components = self._num_components
        if index is None:
            return None
        if num_components is None:
            raise ValueError(
                f"component_idx: {self.reader} has num_components=None, hence no component axis to "
                f"index, got component_idx={index}. Set num_components, or omit component_idx."
            )
        if not is_array(index):
            raise not_an_array("component_idx", index, "an integer scalar")
        # NumPy's integers are 64 bits wide, where JAX would cut them to 32.
        index = index if isinstance(index, jax.Array) else np.asarray(index)
        if index.shape != () or not jnp.issubdtype(index.dtype, jnp.integer):
            raise TypeError(
                f"component_idx: expected an integer scalar, got {index.dtype} of shape "
                f"{index.shape}. For losses of all components at once, pass them as "
                f"[*items, component] without component_idx."
            )
        is_traced = isinstance(index, jax.core.Tracer)
        if not is_traced and not 0 <= int(index) < num_components:
            raise IndexError(
                f"component_idx: expected 0 <= component_idx < num_components={num_components}, "
                f"got {index}. (Negative indices do not count from the end.)"
            )
        index = jnp.asarray(index)
        # A narrow dtype might not hold the number of components.
        index = index.astype(jnp.int32) if index.dtype.itemsize < 4 else index
        # A traced index out of range selects no component, instead of the nearest one.
        return jnp.arange(num_components, dtype=index.dtype) == index

    def _check_axes(self, name: str, shape: tuple[Size, ...]) -> None:
        components, num_components = self._components, self._num_components
        component_axis = f"component={num_components}, " if components else ""
        expected = f"[*batch, {component_axis}feature]"
        if len(shape) < 2 + len(components):
            raise ValueError(
                f"{name}: {self.reader} with num_components={num_components} expects shape "
                f"{expected} with at least one batch axis, got shape {shape} with only "
                f"{len(shape)} axes. Add the missing axis, or change num_components."
            )
        if components and shape[-2] not in (1, num_components):
            raise ValueError(
                f"{name}: {self.reader} expects shape {expected}, with a component axis of size "
                f"{num_components} before the last axis (or 1: the same for all components), got "
                f"shape {shape} with {shape[-2]} there. Move the component axis, or change "
                "num_components."
            )

    def _check_not_empty(self, name: str, array: Array, entry: str) -> None:
        if array.shape[-1] == 0:
            raise ValueError(
                f"{name}: {self.reader} expects at least one {entry} on the last axis, got shape "
                f"{array.shape}."
            )

    def _check_num_features(
        self, name: str, axis: SizedAxis | None, activations: AbstractActivations
    ) -> None:
        expected = None if axis is None else self.sizes[axis]
        given = activations.num_features
        if expected is not None and given != expected:
            features = f"{axis}s".replace("_", " ")
            raise ValueError(
                f"{name}: {self.reader} expects {expected} {features}, got {given} in "
                f"{activations.description}. Set num_{axis}s={given}, or pass activations of "
                f"{expected} features."
            )

    def _check_same_shape(self, shapes: Mapping[str, tuple[Size, ...]]) -> None:
        if len(set(shapes.values())) > 1:
            given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(
                f"{' and '.join(shapes)}: {self.reader} expects inputs of the same shape, got "
                f"{given}. They belong to the same vectors or predictions."
            )
