"""Ready-made collections for training and evaluation, with the names that people know."""

from typing import Any, Literal, TypeAlias

from ._configuration import check_choice
from ._core import AbstractMetric, MetricCollection
from ._metric.fidelity import (
    KLDivergenceScore,
    LossIncrease,
    ModelLoss,
    ReconstructionScore,
    TopOneAgreement,
)
from ._metric.named_inputs import Nonfinite
from ._metric.reconstruction import (
    CosineSimilarity,
    ExplainedVariance,
    L2Norm,
    L2NormRatio,
    L2ReconstructionLoss,
    NormalizedMSE,
    RelativeReconstructionBias,
)
from ._metric.sparsity import (
    DeadFeatures,
    FeatureDensity,
    FeatureDensityStatistics,
    L0Norm,
    L1AbsoluteLoss,
)

Nonfinites: TypeAlias = Literal["keep", "count", "leave_out"]

_ACTIVATIONS = ("source_activations", "learned_activations", "decoded_activations")
_LOSSES = (
    "source_model_loss",
    "source_model_loss_with_reconstruction",
    "source_model_loss_with_zero_ablation",
)
_LOGITS = ("source_logits", "logits_with_reconstruction", "logits_with_zero_ablation")


def training_metrics(
    num_learned_features: int,
    num_input_features: int,
    num_components: int | None = None,
    *,
    dead_after_tokens: int | tuple[int, ...] = 10_000_000,
    nonfinite: Nonfinites = "keep",
) -> MetricCollection:
    """Metrics to watch while a sparse autoencoder trains.

    | name | metric |
    |---|---|
    | `l0` | `L0Norm` |
    | `l1` | `L1AbsoluteLoss` |
    | `mse` | `L2ReconstructionLoss(reduction="sum")`: the sum over input features |
    | `explained_variance` | `ExplainedVariance`, pooled |
    | `feature_density` | `FeatureDensity` |
    | `dead_features` | `DeadFeatures`: not fired for `dead_after_tokens` |

    All of them share one read of the activations. Start each window with `reset`, which keeps the
    ages of `dead_features`. `jsm.scalars(metrics, state)` gives all but the density of each feature
    as numbers for a logger.

    **Inputs** of the collection: `source_activations`, `learned_activations` and
    `decoded_activations`.

    **Arguments:**

    - `num_learned_features`: size of the last axis of the learned activations.
    - `num_input_features`: size of the last axis of the source activations.
    - `num_components`: size of the component axis; `None` if there is none.
    - `dead_after_tokens`: a feature is dead if it has not fired for so many tokens: one number, or
        several.
    - `nonfinite`: `"count"` adds `nonfinite/source_activations` and so on, how many vectors of each
        input are not finite (see `Nonfinite`). `"leave_out"` counts them, and leaves them out of
        all metrics, with one more read of the inputs. With `"keep"`, one NaN stays in the sums.

    **Returns:** a `MetricCollection`. Its dictionary `metrics` serves to build another one.

    **Raises:** `ValueError` for sizes or numbers of tokens that are not positive integers, or an
    unknown `nonfinite`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.training_metrics(num_learned_features=4, num_input_features=2)
        >>> state = metrics.update(
        ...     metrics.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [0.0, 4.0]]),
        ...     learned_activations=jnp.array([[1.0, 0.0, 3.0, 0.0], [0.0, 0.0, 2.0, 0.0]]),
        ...     decoded_activations=jnp.array([[2.0, 1.0], [0.0, 3.0]]),
        ... )
        >>> values = metrics.compute(state)
        >>> {name: float(values[name]) for name in ("l0", "l1", "mse")}
        {'l0': 1.5, 'l1': 3.0, 'mse': 1.0}

    ??? note "Differences from other tools"

        SAELens reports the same values as `l0`, `l1`, `mse` and `explained_variance`, and as
        `feature_density` if no activation is negative. Its `dead_features` counts steps, not
        tokens.
    """
    metrics = _always_wanted(num_learned_features, num_input_features, num_components)
    metrics["dead_features"] = DeadFeatures(
        num_learned_features, num_components, after_tokens=dead_after_tokens
    )
    return _collection(metrics, num_components, nonfinite, _ACTIVATIONS)


def evaluation_metrics(
    num_learned_features: int,
    num_input_features: int,
    num_components: int | None = None,
    *,
    model_losses: bool = False,
    logits: bool = False,
    clusters: Literal["items", "prompts"] = "items",
    nonfinite: Nonfinites = "keep",
) -> MetricCollection:
    """Metrics to report for a trained sparse autoencoder.

    | name | metric |
    |---|---|
    | `l0` | `L0Norm` |
    | `l1` | `L1AbsoluteLoss` |
    | `mse` | `L2ReconstructionLoss(reduction="sum")`: the sum over input features |
    | `explained_variance` | `ExplainedVariance`, pooled |
    | `feature_density` | `FeatureDensity` |
    | `density/...` | `FeatureDensityStatistics` |
    | `normalized_mse` | `NormalizedMSE` |
    | `cossim` | `CosineSimilarity` |
    | `l2_norm/source`, `l2_norm/decoded`, `l2_norm/error` | `L2Norm` |
    | `l2_ratio` | `L2NormRatio` |
    | `relative_reconstruction_bias` | `RelativeReconstructionBias`, pooled |
    | with `model_losses`: `ce_loss_score` | `ReconstructionScore` |
    | `ce_loss_increase` | `LossIncrease` |
    | `ce_loss/source`, `ce_loss/with_reconstruction`, `ce_loss/with_zero_ablation` | `ModelLoss` |
    | with `logits`: `kl_div/score`, `kl_div/with_reconstruction`, `kl_div/with_zero_ablation` | \
`KLDivergenceScore` |
    | `top_1_agreement` | `TopOneAgreement` |

    All of them share one read of the activations, and `standard_error` gives the error bars.

    **Inputs** of the collection: `source_activations`, `learned_activations` and
    `decoded_activations`; with `model_losses` the three losses of `ReconstructionScore`; with
    `logits` the three logits of `KLDivergenceScore`. There is one loss fewer than there are tokens:
    pass a `loss_mask` (see `next_token_mask`). A `source_mean`, if you know it, makes the error bar
    of the explained variance right for any batches.

    **Arguments:**

    - `num_learned_features`: size of the last axis of the learned activations.
    - `num_input_features`: size of the last axis of the source activations.
    - `num_components`: size of the component axis; `None` if there is none.
    - `model_losses`: whether losses of the source model are given.
    - `logits`: whether logits of the source model are given.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis. Pass `"prompts"` with activations `[text, token, component?, feature]`
        of language models: tokens of one text are not independent.
    - `nonfinite`: as for `training_metrics`; of losses and logits too.

    **Returns:** a `MetricCollection`. Its dictionary `metrics` serves to build another one.

    **Raises:** `ValueError` for sizes that are not positive integers, or unknown clusters or
    `nonfinite`.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metrics = jsm.evaluation_metrics(num_learned_features=4, num_input_features=2)
        >>> state = metrics.update(
        ...     metrics.init(),
        ...     source_activations=jnp.array([[2.0, 0.0], [0.0, 4.0]]),
        ...     learned_activations=jnp.array([[1.0, 0.0, 3.0, 0.0], [0.0, 0.0, 2.0, 0.0]]),
        ...     decoded_activations=jnp.array([[2.0, 1.0], [0.0, 3.0]]),
        ... )
        >>> value, error = metrics.compute(state), metrics.standard_error(state)
        >>> print(f"{value['explained_variance']:.2f}, cosine {value['cossim']:.2f}")
        0.80, cosine 0.95
        >>> print(f"{value['l0']} +- {error['l0']}")
        1.5 +- 0.5

    ??? note "Differences from other tools"

        SAELens reports the same values as `l0`, `l1`, `mse`, `explained_variance`, `cossim`,
        `l2_ratio` and `ce_loss_score`, and as `feature_density` if no activation is negative. Its
        `relative_reconstruction_bias` is the mean of the ratios of its batches. Its `l2_norm_in`
        and `l2_norm_out` are `l2_norm/source` and `l2_norm/decoded` here, and its `kl_div_score` is
        `kl_div/score`.
    """
    components = num_components
    metrics = _always_wanted(num_learned_features, num_input_features, components, clusters) | {
        "density": FeatureDensityStatistics(num_learned_features, components),
        "normalized_mse": NormalizedMSE(components, clusters=clusters),
        "cossim": CosineSimilarity(components, clusters=clusters),
        "l2_norm": L2Norm(components, clusters=clusters),
        "l2_ratio": L2NormRatio(components, clusters=clusters),
        "relative_reconstruction_bias": RelativeReconstructionBias(components, clusters=clusters),
    }
    if model_losses:
        metrics["ce_loss_score"] = ReconstructionScore(components, clusters=clusters)
        metrics["ce_loss_increase"] = LossIncrease(components, clusters=clusters)
        metrics["ce_loss"] = ModelLoss(components, clusters=clusters)
    if logits:
        metrics["kl_div"] = KLDivergenceScore(components, clusters=clusters)
        metrics["top_1_agreement"] = TopOneAgreement(components, clusters=clusters)
    inputs = _ACTIVATIONS + _LOSSES * model_losses + _LOGITS * logits
    return _collection(metrics, components, nonfinite, inputs)


def _always_wanted(
    num_learned_features: int,
    num_input_features: int,
    components: int | None,
    clusters: Literal["items", "prompts"] = "items",
) -> dict[str, AbstractMetric[Any]]:
    return {
        "l0": L0Norm(components, clusters=clusters),
        "l1": L1AbsoluteLoss(components, clusters=clusters),
        "mse": L2ReconstructionLoss(components, reduction="sum", clusters=clusters),
        "explained_variance": ExplainedVariance(num_input_features, components, clusters=clusters),
        "feature_density": FeatureDensity(num_learned_features, components),
    }


def _collection(
    metrics: dict[str, AbstractMetric[Any]],
    num_components: int | None,
    nonfinite: Nonfinites,
    inputs: tuple[str, ...],
) -> MetricCollection:
    """The metrics, and those of what is not finite in their inputs, if it is counted."""
    check_choice("nonfinite", nonfinite, ("keep", "count", "leave_out"))
    if nonfinite != "keep":
        metrics |= {f"nonfinite/{name}": Nonfinite(name, num_components) for name in inputs}
    return MetricCollection(metrics, finite_only=nonfinite == "leave_out")
