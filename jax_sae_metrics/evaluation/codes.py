"""Codes of several autoencoders as those of several components."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._inputs import SparseActivations, TopKActivations


def stacked(codes: Sequence[Any]) -> Any:
    """Codes `[*batch, feature]` of each component, dense or sparse, with a component axis.

    Sparse codes of one kind stay sparse. Otherwise all become dense.
    """
    codes = [jax.tree.map(jnp.asarray, code) for code in codes]
    kinds = {type(code) for code in codes}
    if kinds == {TopKActivations}:
        return _stacked_top_k(codes)
    if kinds == {SparseActivations}:
        return _joined(codes)
    return jnp.stack([_dense(code) for code in codes], axis=-2)


def num_learned_features(code: Any) -> int:
    """The number of features of a code, dense or sparse."""
    is_top_k = isinstance(code, TopKActivations)
    return int(code.num_learned_features if is_top_k else code.shape[-1])


def _stacked_top_k(codes: Sequence[TopKActivations]) -> TopKActivations:
    most = max(code.values.shape[-1] for code in codes)

    def padded(array: Array, padding: int) -> Array:
        missing = (0, most - array.shape[-1])
        widths = [(0, 0)] * (array.ndim - 1) + [missing]
        return jnp.pad(array, widths, constant_values=padding)

    values = jnp.stack([padded(code.values, 0) for code in codes], axis=-2)
    indices = jnp.stack([padded(code.indices, -1) for code in codes], axis=-2)
    return TopKActivations(values, indices, codes[0].num_learned_features)


def _joined(codes: Sequence[SparseActivations]) -> SparseActivations:
    vectors = [
        jnp.where(code.is_valid(), code.vector_indices * len(codes) + component, -1)
        for component, code in enumerate(codes)
    ]
    shape = codes[0].shape
    return SparseActivations(
        values=jnp.concatenate([code.values for code in codes]),
        vector_indices=jnp.concatenate(vectors),
        feature_indices=jnp.concatenate([code.feature_indices for code in codes]),
        shape=(*shape[:-1], len(codes), shape[-1]),
    )


def _dense(code: Any) -> Float[Array, "*batch feature"]:
    if isinstance(code, TopKActivations):
        vectors = jnp.arange(math.prod(code.values.shape[:-1])).reshape(-1, 1)
        values = code.without_padding().reshape(len(vectors), -1)
        features = jnp.where(code.is_valid(), code.indices, 0).reshape(values.shape)
        shape = (*code.values.shape[:-1], code.num_learned_features)
    elif isinstance(code, SparseActivations):
        is_valid, shape = code.is_valid(), code.shape
        values = code.without_padding()
        vectors = jnp.where(is_valid, code.vector_indices, 0)
        features = jnp.where(is_valid, code.feature_indices, 0)
    else:
        return code
    empty = jnp.zeros((math.prod(shape[:-1]), shape[-1]), values.dtype)
    return empty.at[vectors, features].add(values).reshape(shape)
