"""How much of one dictionary is found in another."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .nearest import nearest
from .rows import has_direction, two_dictionaries


def mean_max_cosine_similarity(a: ArrayLike, b: ArrayLike) -> Float[Array, ""]:
    r"""Mean over one dictionary of the largest cosine to any vector of another (MMCS).

    $$\frac{1}{|A|} \sum_{a \in A} \max_{b \in B} \frac{a \cdot b}{|a| |b|}$$

    It is not symmetric: it says how much of `a` is found in `b`, whatever else `b` holds. With the
    true features as `a` and a learned dictionary as `b`, a larger dictionary can only gain; the
    other way round, it loses by vectors that match nothing. `mean_correlation_coefficient` is
    symmetric.

    **Arguments:**

    - `a`: floating point, `[feature_a, input_feature]`.
    - `b`: floating point, `[feature_b, input_feature]`.

    **Returns:** a scalar, float32 (float64 for float64 input), from -1 to 1. Zero rows have no
    direction: in `a` they are left out of the mean, in `b` they match nothing. The result is NaN if
    no rows are left of either.

    **Raises:** `ValueError` unless both are matrices with vectors of the same size, `TypeError` for
    inputs that are not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> a = jnp.array([[1.0, 0.0]])
        >>> b = jnp.array([[2.0, 0.0], [0.0, 1.0]])
        >>> print(jsm.mean_max_cosine_similarity(a, b), jsm.mean_max_cosine_similarity(b, a))
        1.0 0.5

    ??? cite "Reference"

        L. Sharkey, D. Braun, B. Millidge, [Taking features out of superposition with sparse
        autoencoders](https://www.lesswrong.com/posts/z6QQJbtpkEAX3Aojj), 2022.
    """
    return _mean_max_cosine_similarity(*two_dictionaries(a=a, b=b))


@jax.jit
def _mean_max_cosine_similarity(
    a: Float[Array, "feature_a input_feature"], b: Float[Array, "feature_b input_feature"]
) -> Float[Array, ""]:
    return jnp.mean(nearest(a, b).cosines, where=has_direction(a))
