"""How much two dictionaries have in common, pair by pair."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .nearest import MAX_COSINES_AT_ONCE
from .rows import cosines, two_dictionaries, unit_rows


def mean_correlation_coefficient(a: ArrayLike, b: ArrayLike) -> float:
    r"""Mean absolute cosine of the vectors of two dictionaries, matched one to one (MCC).

    $$\frac{1}{n} \max_{\pi} \sum_{i=1}^{n} \frac{|a_i \cdot b_{\pi(i)}|}{|a_i| |b_{\pi(i)}|}$$

    over all ways $\pi$ of matching the $n$ vectors of the smaller dictionary, here $a$, with
    different vectors of the larger one. It is symmetric.

    SciPy's Hungarian algorithm finds the matching on the host, so that this cannot be called under
    `jax.jit`, `vmap` or `grad`. It needs the cosines of all pairs at once: they are found in blocks
    of rows on the device and take 8 bytes a pair on the host. Its time grows with up to the cube of
    the number of vectors.

    **Arguments:**

    - `a`: floating point, `[feature_a, input_feature]`.
    - `b`: floating point, `[feature_b, input_feature]`.

    **Returns:** a Python float from 0 to 1. Zero rows have no direction and are left out of both.
    The result is NaN if no rows are left of either, or if there is a NaN.

    **Raises:** `TypeError` where it is traced or an input is not floating point, `ValueError`
    unless both are matrices with vectors of the same size.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> a = jnp.array([[1.0, 0.0], [1.0, 0.0]])
        >>> b = jnp.array([[0.0, 1.0], [-2.0, 0.0], [0.0, 3.0]])
        >>> jsm.mean_correlation_coefficient(a, b)
        0.5

    ??? cite "Reference"

        X. Song et al., [Mechanistic Interpretability Should Prioritize Feature Consistency in
        SAEs](https://arxiv.org/abs/2505.20254), 2025.

    ??? note "Differences from other tools"

        SAELens 6.54 gives the same value, but counts a zero row as a match of cosine 0.
    """
    for name, value in (("a", a), ("b", b)):
        if isinstance(value, jax.core.Tracer):
            raise TypeError(
                f"{name}: mean_correlation_coefficient matches vectors on the host and needs "
                f"their values, got a tracer of {jax.typeof(value)}. Call it outside of `jax.jit`, "
                "`jax.vmap` and `jax.grad`."
            )
    smaller, larger = sorted(map(_directions, two_dictionaries(a=a, b=b)), key=len)
    if len(smaller) == 0 or not (np.isfinite(smaller).all() and np.isfinite(larger).all()):
        return float("nan")
    # No more rows than columns, and negative costs: the algorithm then makes no copy.
    costs = np.empty((len(smaller), len(larger)))
    num_rows = max(1, MAX_COSINES_AT_ONCE // len(larger))
    columns = jnp.asarray(larger)
    for start in range(0, len(smaller), num_rows):
        rows = slice(start, start + num_rows)
        costs[rows] = -np.abs(_cosines(jnp.asarray(smaller[rows]), columns))
    # Imported only here: SciPy takes longer to import than everything else in the library.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    return -float(np.mean(costs[linear_sum_assignment(costs)]))


_cosines = jax.jit(cosines)
_unit_rows = jax.jit(unit_rows)


def _directions(rows: jax.Array) -> np.ndarray:
    """The rows that are not zero, of length one, on the host."""
    unit = np.asarray(_unit_rows(rows))
    return unit[np.any(unit != 0, axis=-1)]
