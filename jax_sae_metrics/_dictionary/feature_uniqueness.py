"""How many learned features have a true feature to themselves."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float32

from .nearest import nearest
from .rows import two_dictionaries


def feature_uniqueness(learned: ArrayLike, true: ArrayLike) -> Float32[Array, ""]:
    r"""Number of different true features that learned features match, per learned feature.

    $$\frac{|\{b_1, \dots, b_F\}|}{F}, \qquad
    b_i = \operatorname{argmax}_j \frac{|w_i \cdot t_j|}{|w_i| |t_j|}$$

    over all $F$ learned features: see `best_matching_features`. It is 1 if no two of them match the
    same true feature. It cannot exceed the number of true features divided by $F$.

    **Arguments:**

    - `learned`: floating point, `[learned_feature, input_feature]`, the decoder.
    - `true`: floating point, `[true_feature, input_feature]`.

    **Returns:** a scalar, float32, from 0 to 1. A zero row of `learned` counts in $F$ and matches
    nothing. Nothing matches a zero row of `true`.

    **Raises:** `ValueError` unless both are matrices with vectors of the same size, `TypeError` for
    inputs that are not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> learned = jnp.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> print(jsm.feature_uniqueness(learned, true=jnp.array([[1.0, 0.0], [0.0, 1.0]])))
        0.5

    ??? cite "Reference"

        D. Chanin et al., [SynthSAEBench](https://arxiv.org/abs/2602.14687), 2026.

    ??? note "Differences from other tools"

        SAELens gives the same value, but there zero rows of `learned` match the first true feature.
    """
    return _feature_uniqueness(*two_dictionaries(learned=learned, true=true))


@jax.jit
def _feature_uniqueness(
    learned: Float[Array, "learned_feature input_feature"],
    true: Float[Array, "true_feature input_feature"],
) -> Float32[Array, ""]:
    num_learned, num_true = len(learned), len(true)
    matches = jnp.sort(nearest(learned, true, absolute=True).indices)
    is_new = jnp.diff(matches, prepend=jnp.int32(-1)) > 0
    num_matched = jnp.sum(is_new & (matches < num_true), dtype=jnp.int32)
    return num_matched.astype(jnp.float32) / num_learned
