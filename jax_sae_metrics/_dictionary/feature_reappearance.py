"""Which features of one dictionary another one has too."""

import functools

import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from .._configuration import check_between
from .nearest import nearest
from .rows import two_dictionaries


def feature_reappearance(
    a: ArrayLike, b: ArrayLike, threshold: float = 0.7
) -> Bool[Array, " feature_a"]:
    r"""Whether each dictionary vector of `a` has a close one in `b`.

    $$\max_j \frac{a_i \cdot b_j}{|a_i| |b_j|} \ge \theta$$

    Use it for dictionaries of different seeds or sizes: its mean is the portion of the features of
    `a` that were found again.

    **Arguments:**

    - `a`, `b`: floating point, `[feature, input_feature]`; they may have different numbers of
        features.
    - `threshold`: $\theta$, from -1 to 1. Cosines are rounded: for equal vectors, ask for a little
        less than 1.

    **Returns:** boolean `[feature]`, one for each feature of `a`; False for a zero row, which has
    no direction.

    **Raises:** `ValueError` for inputs that are not matrices with the same number of input
    features, or a threshold outside [-1, 1]; `TypeError` for inputs that are not floating point.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> a = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
        >>> b = jnp.array([[3.0, 1.0], [1.0, -1.0]])
        >>> print(jsm.feature_reappearance(a, b))
        [ True False False]

    ??? cite "Reference"

        G. Paulo, N. Belrose, [Sparse Autoencoders Trained on the Same Data Learn Different
        Features](https://arxiv.org/abs/2501.16615), 2025. There, features are matched one to one by
        the Hungarian algorithm; here each takes its best match, whatever others take.
    """
    check_between("threshold", threshold, -1.0, 1.0)
    return _reappears(*two_dictionaries(a=a, b=b), threshold)


@functools.partial(jax.jit, static_argnums=2)
def _reappears(
    a: Float[Array, "feature_a input_feature"],
    b: Float[Array, "feature_b input_feature"],
    threshold: float,
) -> Bool[Array, " feature_a"]:
    return nearest(a, b).cosines >= threshold
