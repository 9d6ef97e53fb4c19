"""When states are the same, although their sums were made in another order."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_sae_metrics import RatioOfSums
from subjects import accumulators

covariance = jax.jit(RatioOfSums.covariance)


def assert_same(state, wanted):
    """Integers are the same; floats differ by the order of one batch's float32 sum."""
    both = map(accumulators, jax.tree.map(jnp.asarray, jax.device_get((state, wanted))))
    for given, want in zip(*both, strict=True):
        of_leaves = [*zip(*map(jax.tree.leaves, (given, want)), strict=True)]
        integers = [pair for pair in of_leaves if not np.issubdtype(pair[1].dtype, np.floating)]
        for a, b in integers:
            np.testing.assert_array_equal(a, b, err_msg=repr(want))
        # As values: what one half of a pair lacks, the other has.
        values = [x.to_numpy() if hasattr(x, "to_numpy") else x for x in (given, want)]
        for a, b in zip(*map(jax.tree.leaves, values), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, err_msg=repr(want))
        if isinstance(want, RatioOfSums):
            # Covariances are of differences, which have fewer digits. They cancel to any size.
            variances = np.diagonal(covariance(want))
            scale = np.sqrt(np.multiply.outer(variances, variances))
            a, b = (covariance(x) / scale for x in (given, want))
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=repr(want))
