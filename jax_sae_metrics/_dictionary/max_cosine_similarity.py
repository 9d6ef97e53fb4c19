"""How close each dictionary vector is to the nearest other one."""

import functools

import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .nearest import nearest
from .rows import dictionary


def max_cosine_similarity(
    decoder: ArrayLike, *, absolute: bool = False
) -> Float[Array, " learned_feature"]:
    r"""Largest cosine of each dictionary vector to any other vector of the dictionary.

    $$m_i = \max_{j \ne i} \frac{w_i \cdot w_j}{|w_i| |w_j|}
    \qquad \text{or, with } \texttt{absolute=True}, \qquad
    \max_{j \ne i} \frac{|w_i \cdot w_j|}{|w_i| |w_j|}$$

    It is near 1 where a feature has a duplicate, or was split. The cosines are found in blocks of
    rows, at most $2^{24}$ cosines (or one row) at a time.

    **Arguments:**

    - `decoder`: floating point, `[learned_feature, input_feature]`.
    - `absolute`: count opposite directions as close too.

    **Returns:** `[learned_feature]`, float32 (float64 for float64 input), from -1 (0 with
    `absolute`) to 1. NaN for a zero row, which has no direction and is not compared with others,
    and for a row without any other.

    **Raises:** `ValueError` for an input that is not a matrix, `TypeError` for one that is not
    floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> decoder = jnp.array([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
        >>> print(jsm.max_cosine_similarity(decoder))
        [0. 0. 0.]
        >>> print(jsm.max_cosine_similarity(decoder, absolute=True))
        [1. 0. 1.]

    ??? note "Differences from other tools"

        SAEBench reports the mean over features of the signed form, for encoder and decoder. Its
        encoder is stored as `[input_feature, learned_feature]`: transpose it here.
    """
    return _max_cosine_similarity(dictionary("decoder", decoder), absolute)


@functools.partial(jax.jit, static_argnums=1)
def _max_cosine_similarity(
    decoder: Float[Array, "learned_feature input_feature"], absolute: bool
) -> Float[Array, " learned_feature"]:
    return nearest(decoder, decoder, absolute=absolute, is_same=True).cosines
