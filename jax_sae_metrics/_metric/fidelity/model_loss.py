"""The model's loss: unchanged, with reconstructions, and ablated."""

from typing import Any, Literal

import equinox as eqx

from ..._configuration import check_choice
from ..._inputs import Batch
from ..base import AbstractMeans
from .reconstruction_score import ABLATIONS


class ModelLoss(AbstractMeans):
    r"""Mean losses of the model: unchanged, with the reconstruction, and with the ablation.

    Each is the mean over all $v$ unmasked items of all batches,

    $$\frac{1}{v} \sum_{i=1}^{v} l_i$$

    `ReconstructionScore` and `LossIncrease` compare these losses. Their standard errors are smaller
    than these would suggest, since the losses of one item rise and fall together.

    **Inputs** of `observe`, `update` and `forward`: `source_model_loss`,
    `source_model_loss_with_reconstruction` and `source_model_loss_with_zero_ablation`, floating
    point, all three `[*items]` with `component_idx`, or `[*items, component?]` without it.
    `component_idx` is as for `ReconstructionScore`. A mask is over the items.

    **Result:** a dictionary of `source`, `with_reconstruction` and `with_zero_ablation`, each
    float32 `[component?]`, in the units of the losses; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `ablation`: `"zero"`, or `"mean"` to read `source_model_loss_with_mean_ablation` in place of
        the loss with zeros; the result is then called `with_mean_ablation`.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or an
    unknown ablation.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.ModelLoss()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_model_loss=jnp.array([2.0, 1.0]),
        ...     source_model_loss_with_reconstruction=jnp.array([3.0, 1.5]),
        ...     source_model_loss_with_zero_ablation=jnp.array([5.0, 4.0]),
        ... )
        >>> {name: float(value) for name, value in metric.compute(state).items()}
        {'source': 1.5, 'with_reconstruction': 2.25, 'with_zero_ablation': 4.5}

    ??? note "Differences from other tools"

        SAELens calls them `ce_loss_without_sae`, `ce_loss_with_sae` and `ce_loss_with_ablation`,
        dictionary_learning `loss_original`, `loss_reconstructed` and `loss_zero`. The two differ in
        which tokens count: see `next_token_mask`. Llamascopium's `downstream_loss_original`,
        `..._reconstructed` and `..._ablated` are means over batches of equal weight.
    """

    num_components: int | None = eqx.field(static=True, default=None)
    ablation: Literal["zero", "mean"] = eqx.field(static=True, default="zero")

    def __check_init__(self) -> None:
        check_choice("ablation", self.ablation, ABLATIONS)

    @property
    def _names(self) -> tuple[str, ...]:
        return "source", "with_reconstruction", f"with_{self.ablation}_ablation"

    def _observe(self, batch: Batch) -> Any:
        others = (f"source_model_loss_{name}" for name in self._names[1:])
        items, losses = batch.losses("source_model_loss", *others)
        return items, dict(zip(self._names, losses, strict=True))
