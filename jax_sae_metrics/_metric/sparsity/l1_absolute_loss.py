"""The sparsity penalty: absolute sum of the learned activations."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..._accumulator import scatter_add
from ..._arrays import computable
from ..._configuration import check_flag
from ..._inputs import Batch, SparseActivations, TopKActivations
from ..base import AbstractMean, absolute, weighted_absolute


def l1_absolute_loss(
    learned_activations: ArrayLike | TopKActivations | SparseActivations,
) -> Float[Array, "*batch_and_component"]:
    r"""Absolute sum of the learned activations, one value per vector and component.

    $$\ell_1(f) = \sum_i |f_i|$$

    It is differentiable, with gradient 0 at 0 as in torch: train with this function, and report
    `L1AbsoluteLoss`. It replaces the torch version's `L1AbsoluteLoss(keep_batch_dim=True)`.

    **Arguments:**

    - `learned_activations`: floating point, `[*batch, component?, learned_feature]`, or
        `TopKActivations` or `SparseActivations`.

    **Returns:** `[*batch, component?]`, float32 (float64 for float64 input).

    **Raises:** `TypeError` for an input that is not floating point, `ValueError` for a scalar.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> print(jsm.l1_absolute_loss(jnp.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])))
        [2. 1.]
    """
    given = learned_activations
    if isinstance(given, TopKActivations | SparseActivations):
        learned_activations = given.without_padding()
    learned = computable("learned_activations", learned_activations)
    if learned.ndim == 0:
        raise ValueError("learned_activations: expected an axis of learned features, got shape ().")
    # Not jnp.abs, whose gradient at zero is 1: most learned activations are zero.
    sizes = learned * jnp.sign(learned)
    if isinstance(given, SparseActivations):
        sums = jnp.zeros(given.shape[:-1], sizes.dtype).reshape(-1)
        vectors = jnp.asarray(given.vector_indices, jnp.int32)
        return scatter_add(sums, (vectors,), sizes).reshape(given.shape[:-1])
    return jnp.sum(sizes, axis=-1)


class L1AbsoluteLoss(AbstractMean):
    r"""Mean absolute sum of the learned activations.

    $$\frac{1}{N} \sum_{n=1}^{N} \sum_i |f_{ni}|$$

    over all $N$ unmasked vectors of all batches. With `decoder_weighted`, each $|f_{ni}|$ is
    multiplied by the norm of the feature's decoder row. This penalty does not change when an
    activation is made smaller and its decoder row larger.

    **Inputs** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`; with
    `decoder_weighted` also `decoder_norms`, `[component?, learned_feature]`.

    **Result:** float32 `[component?]`, in units of the activations; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `decoder_weighted`: whether to weight by `decoder_norms`.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or for
    `decoder_norms` of another shape.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.L1AbsoluteLoss()
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state))
        1.5

    ??? note "Differences from other tools"

        The torch version's `L1AbsoluteLoss` keeps a plain float32 sum; its `keep_batch_dim=True` is
        the function `l1_absolute_loss` here. SAELens reports the sum without weights as `l1`. A sum
        without absolute values, which some tools call L1, cancels where activations have signs.
        `l1` of activation-extract and `sparsity_loss` of Llamascopium have the coefficient in them.

    ??? cite "Reference"

        Weighted: Anthropic, [Circuits Updates, April
        2024](https://transformer-circuits.pub/2024/april-update/index.html).
    """

    num_components: int | None = eqx.field(static=True, default=None)
    decoder_weighted: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_flag("decoder_weighted", self.decoder_weighted)

    def _observe(self, batch: Batch) -> Any:
        learned = batch.learned_activations
        if not self.decoder_weighted:
            return learned.items, learned.sum_per_vector(absolute)
        norms = batch.per_feature("decoder_norms", learned)
        return learned.items, learned.sum_per_vector(weighted_absolute, norms)
