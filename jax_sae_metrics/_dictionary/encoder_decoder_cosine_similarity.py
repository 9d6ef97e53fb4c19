"""Whether each feature is read in the direction in which it is written."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .rows import has_direction, two_dictionaries, unit_rows


def encoder_decoder_cosine_similarity(
    encoder: ArrayLike, decoder: ArrayLike
) -> Float[Array, " learned_feature"]:
    r"""Cosine of each feature's encoder vector to its decoder vector.

    $$c_i = \frac{e_i \cdot w_i}{|e_i| |w_i|}$$

    It is 1 for an encoder that is the transposed decoder, up to a scale for each feature.

    **Arguments:**

    - `encoder`: floating point, `[learned_feature, input_feature]`. Transpose a matrix stored as
        `[input_feature, learned_feature]`.
    - `decoder`: of the same shape.

    **Returns:** `[learned_feature]`, float32 (float64 for float64 input), from -1 to 1; NaN where
    either row is zero.

    **Raises:** `ValueError` unless both are matrices of the same shape, `TypeError` for inputs that
    are not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> encoder = jnp.array([[2.0, 0.0], [0.0, 1.0]])
        >>> decoder = jnp.array([[1.0, 0.0], [1.0, 0.0]])
        >>> print(jsm.encoder_decoder_cosine_similarity(encoder, decoder))
        [1. 0.]

    ??? note "Differences from other tools"

        SAELens stores its encoder as `[input_feature, learned_feature]`: pass `W_enc.T`.
    """
    encoder, decoder = two_dictionaries(encoder=encoder, decoder=decoder)
    if encoder.shape != decoder.shape:
        raise ValueError(
            "encoder and decoder must have the same shape [learned_feature, input_feature], got "
            f"{encoder.shape} and {decoder.shape}."
        )
    cosine = jnp.sum(unit_rows(encoder) * unit_rows(decoder), axis=-1)
    exists = has_direction(encoder) & has_direction(decoder)
    return jnp.where(exists, jnp.clip(cosine, -1.0, 1.0), jnp.nan)
