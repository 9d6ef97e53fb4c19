"""How far the model's predictions move when reconstructions replace activations."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from ..._accumulator import NumbersOfUnits, RatioOfSums
from ..._configuration import check_choice
from ..._inputs import Batch
from ..base import AbstractErrorBars
from .reconstruction_score import ABLATIONS


class KLDivergenceScore(AbstractErrorBars[dict[str, RatioOfSums]]):
    r"""KL divergence of the model's predictions, and the portion that the reconstruction avoids.

    The unchanged model gives probabilities $p$. With the reconstruction in place of the activations
    it gives $q_\text{recon}$, and with zeros there $q_\text{zero}$. Over the vocabulary and over
    all $v$ unmasked items of all batches,

    $$\text{KL}_\text{recon} = \frac{1}{v} \sum_{i=1}^{v} \sum_t
    p_{it} (\log p_{it} - \log q_{\text{recon},it}),
    \qquad
    s = \frac{\text{KL}_\text{zero} - \text{KL}_\text{recon}}{\text{KL}_\text{zero}}$$

    The score is 1 if no prediction moves, and 0 if predictions move as far as with zeros. It is the
    ratio of the sums over all batches. It takes no targets: every position of a text counts, even
    the last one, which has no loss.

    A token with probability 0 in the unchanged model adds nothing; logits of -inf that mask part of
    the vocabulary have this effect. If the other model rules out a token (-inf) that the unchanged
    model does not, the divergence is inf. Logits are taken as float32 before anything else. All
    logarithms come from log-softmaxes, and none is taken of a probability. The terms that are
    summed are $p\,(d + e^{-d} - 1)$ with $d = \log p - \log q$. Their sum is the same, since both
    $p$ and $q$ sum to 1, and no term is negative. The divergence of nearly equal predictions is
    therefore neither lost in rounding nor negative.

    **Inputs** of `observe`, `update` and `forward`: `source_logits`, `logits_with_reconstruction`
    and `logits_with_zero_ablation`, floating point, all three `[*items, vocabulary]` with
    `component_idx`, or `[*items, component?, vocabulary]` without it. `component_idx`, an int or a
    traced integer scalar, says which component the reconstruction was put into; with
    `num_components=1` it may be left out. A static one out of range raises `IndexError`; a traced
    one out of range adds nothing to any component. A mask is over the items.

    **Result:** a dictionary of `with_reconstruction` and `with_zero_ablation`, the mean divergences
    in nats, and `score`, each float32 `[component?]`; NaN where nothing was seen.

    **Arguments:**

    - `num_components`: size of the component axis; `None` if there is none.
    - `ablation`: `"zero"`, or `"mean"` to read `logits_with_mean_ablation` in place of the logits
        with zeros; the result is then called `with_mean_ablation`.
    - `clusters`: what is independent for the error bars: `"items"`, or `"prompts"`, the entries of
        the first batch axis.

    **Raises:** `ValueError` for a `num_components` that is not a positive integer or `None`, or an
    unknown ablation.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.KLDivergenceScore()
        >>> state = metric.update(
        ...     metric.init(),
        ...     source_logits=jnp.log(jnp.array([[0.5, 0.5]])),
        ...     logits_with_reconstruction=jnp.log(jnp.array([[0.4, 0.6]])),
        ...     logits_with_zero_ablation=jnp.log(jnp.array([[0.1, 0.9]])),
        ... )
        >>> {name: round(float(value), 4) for name, value in metric.compute(state).items()}
        {'with_reconstruction': 0.0204, 'with_zero_ablation': 0.5108, 'score': 0.96}

    ??? note "Differences from other tools"

        The values equal `kl_div_with_sae`, `kl_div_with_ablation` and `kl_div_score` of SAELens
        6.54, with the mask over all tokens and not the shorter mask of its losses. SAEBench takes
        logarithms of probabilities: one that underflows to 0 makes the result NaN, which it stores
        as -1.
    """

    num_components: int | None = eqx.field(static=True, default=None)
    ablation: Literal["zero", "mean"] = eqx.field(static=True, default="zero")

    def __check_init__(self) -> None:
        check_choice("ablation", self.ablation, ABLATIONS)

    def _init(self) -> dict[str, RatioOfSums]:
        return {name: RatioOfSums.zeros(self._shape()) for name in (*self._names, "lost")}

    def _observe(self, batch: Batch) -> dict[str, NumbersOfUnits]:
        items, logits = batch.logits("source_logits", *(f"logits_{name}" for name in self._names))
        clean, reconstructed, ablated = (jax.nn.log_softmax(each) for each in logits)
        divergences = [_kl_divergence(clean, each) for each in (reconstructed, ablated)]
        means = {n: self._mean(items, d) for n, d in zip(self._names, divergences, strict=True)}
        return means | {"lost": self._ratio(items, *divergences)}

    def _compute(self, state: dict[str, RatioOfSums]) -> dict[str, Float32[Array, "*component"]]:
        means = {name: state[name].value() for name in self._names}
        return means | {"score": 1 - state["lost"].value()}

    def _covariance(
        self, state: dict[str, RatioOfSums]
    ) -> dict[str, Float32[Array, "*component_and_component"]]:
        means = {name: state[name].covariance() for name in self._names}
        return means | {"score": state["lost"].covariance()}

    @property
    def _names(self) -> tuple[str, str]:
        return "with_reconstruction", f"with_{self.ablation}_ablation"


def _kl_divergence(
    log_p: Float[Array, "*item_and_component vocabulary"],
    log_q: Float[Array, "*item_and_component vocabulary"],
) -> Float[Array, "*item_and_component"]:
    """The divergence of q from p, in nats."""
    p, q, difference = jnp.exp(log_p), jnp.exp(log_q), log_p - log_q
    # `close` cancels for distant probabilities (and overflows), `distant` for close ones.
    close = p * (difference + jnp.expm1(-difference))
    distant = p * difference + (q - p)
    terms = jnp.where(jnp.abs(difference) < 1, close, distant)
    # 0 log 0 is 0, and -inf - (-inf) is NaN.
    divergence = jnp.sum(jnp.where(p == 0, q, terms), axis=-1)
    # On some platforms, expm1 rounds so that a term is negative. NaN stays NaN.
    return jnp.maximum(divergence, 0)
