"""What a user may pass in place of an array, and what the message says to do."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental import sparse


class Tensor:
    """What a tensor of torch looks like."""

    shape, dtype = (4, 8), "torch.float32"

    def __array__(self, *_, **__):
        raise AssertionError("the library copied a tensor by itself")


Tensor.__module__ = "torch"
ones = np.ones((4, 8), np.float32)
NO_ARRAYS = {
    "text": ("ones", "got a str."),
    "a dictionary": ({"resid": ones}, "Pass one of its values, each by its own keyword: resid."),
    "a set": ({1.0, 2.0}, "got a set."),
    "a list": (ones.tolist(), "Make one of it: jnp.asarray("),
    "a list of arrays": ([*ones], "Make one of it: jnp.asarray("),
    "what top_k returned": (tuple(jax.lax.top_k(ones, 2)), "as TopKActivations(values, indices"),
    "an object array": (ones.astype(object), "JAX has no such dtype"),
    "an array of text": (np.array(["a", "b"]), "JAX has no such dtype"),
    "a masked array": (np.ma.masked_array(ones, ones > 1), ".data, and True where an item counts"),
    "BCOO": (sparse.BCOO.fromdense(ones), ".todense()"),
    "a sparse matrix of SciPy": (scipy.sparse.csr_matrix(ones), ".toarray()"),
    "a tensor of torch": (Tensor(), "Convert it: jnp.from_dlpack("),
    "a shape": (jax.ShapeDtypeStruct((4, 8), jnp.float32), "call under `jax.eval_shape`"),
    "a function": (jnp.ones, "got a function."),
}
