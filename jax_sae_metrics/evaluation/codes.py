"""Codes of several autoencoders as those of several components."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._inputs import SparseActivations, TopKActivations


def stacked(codes: Sequence[Any]) -> Any:
    """Codes `[*batch, feature]` of each component, dense or sparse, with a component axis."""
    first = codes[0]
    if isinstance(first, TopKActivations):
        values, indices = (
            jnp.stack([getattr(code, field) for code in codes], axis=-2)
            for field in ("values", "indices")
        )
        return TopKActivations(values, indices, first.num_learned_features)
    if isinstance(first, SparseActivations):
        codes = [jax.tree.map(jnp.asarray, code) for code in codes]
        vectors = [
            jnp.where(code.is_valid(), code.vector_indices * len(codes) + component, -1)
            for component, code in enumerate(codes)
        ]
        return SparseActivations(
            values=jnp.concatenate([code.values for code in codes]),
            vector_indices=jnp.concatenate(vectors),
            feature_indices=jnp.concatenate([code.feature_indices for code in codes]),
            shape=(*first.shape[:-1], len(codes), first.shape[-1]),
        )
    return jnp.stack(list(codes), axis=-2)


def num_learned_features(code: Any) -> int:
    """The number of features of a code, dense or sparse."""
    is_top_k = isinstance(code, TopKActivations)
    return int(code.num_learned_features if is_top_k else code.shape[-1])
