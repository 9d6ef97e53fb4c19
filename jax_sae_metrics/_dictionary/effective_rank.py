"""How many dimensions a dictionary makes use of."""

import jax.numpy as jnp
from jax.scipy.special import entr
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._arrays import unsharded
from .rows import dictionary


def effective_rank(weights: ArrayLike) -> Float[Array, ""]:
    r"""Exponential of the entropy of the normalised singular values.

    $$\exp\Big({-\sum_k p_k \ln p_k}\Big), \qquad p_k = \frac{\sigma_k}{\sum_l \sigma_l}$$

    with the singular values $\sigma$ of the matrix. It is $n$ for $n$ equal singular values and no
    others, and never more than the rank.

    **Arguments:**

    - `weights`: floating point, `[feature, input_feature]`. It is not centred and its rows are not
        normalised: do so before if you want it.

    **Returns:** a scalar, float32 (float64 for float64 input), from 1 to the size of the smaller
    axis; NaN for zeros. Rows of zeros change nothing.

    **Raises:** `ValueError` for an input that is not a matrix, `TypeError` for one that is not
    floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> weights = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        >>> print(f"{jsm.effective_rank(weights):.3f}")
        2.000

    ??? cite "Reference"

        O. Roy, M. Vetterli, [The effective rank: a measure of effective
        dimensionality](https://ieeexplore.ieee.org/document/7098875), 2007.
    """
    values = jnp.linalg.svd(unsharded(dictionary("weights", weights)), compute_uv=False)
    return jnp.exp(jnp.sum(entr(values / jnp.sum(values))))
