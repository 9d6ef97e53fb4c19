"""Which true feature each learned one comes closest to."""

import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32

from .nearest import nearest
from .rows import two_dictionaries


def best_matching_features(learned: ArrayLike, true: ArrayLike) -> Int32[Array, " learned_feature"]:
    r"""Index of the true feature with the largest absolute cosine, for each learned feature.

    $$b_i = \operatorname{argmax}_j \frac{|w_i \cdot t_j|}{|w_i| |t_j|}$$

    If several are equally close, it is the first of them. Several learned features may have the
    same match.

    **Arguments:**

    - `learned`: floating point, `[learned_feature, input_feature]`, the decoder.
    - `true`: floating point, `[true_feature, input_feature]`.

    **Returns:** int32 `[learned_feature]`, from 0 to the number of true features less one. Zero
    rows have no direction. A zero row of `true` matches nothing. A zero row of `learned` gets the
    number of true features, which is out of range. With this index,
    `jnp.take(true_activations, indices, axis=-1)` gives NaN, and NumPy raises.

    **Raises:** `ValueError` unless both are matrices with vectors of the same size, `TypeError` for
    inputs that are not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> learned = jnp.array([[0.0, -2.0], [1.0, 0.1], [0.0, 0.0]])
        >>> true = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> print(jsm.best_matching_features(learned, true))
        [1 0 2]

    ??? note "Differences from other tools"

        SAELens' synthetic evaluation finds the same matches.
    """
    return _best_matching_features(*two_dictionaries(learned=learned, true=true))


@jax.jit
def _best_matching_features(
    learned: Float[Array, "learned_feature input_feature"],
    true: Float[Array, "true_feature input_feature"],
) -> Int32[Array, " learned_feature"]:
    return nearest(learned, true, absolute=True).indices
