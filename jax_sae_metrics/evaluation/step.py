"""What one batch of tokens adds to the metrics of an evaluation."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from .._accumulator import summed
from .._core import AbstractMetric, MetricCollection, Observation, PerComponent
from .._core.collection_state import closed, unpooled
from .._inputs import Inputs, answer, next_token_mask
from .._metric.fidelity import LossIncrease, ModelLoss, ReconstructionScore
from .._ready_made import evaluation_metrics
from .codes import stacked
from .component import Component
from .passes import (
    Model,
    coded,
    masked_mean,
    next_token_losses,
    recorded,
    replaced,
    replaced_together,
)

_OF_LOGITS = ("kl_div", "top_1_agreement")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The metrics of an evaluation, in groups that are updated together.

    Logits are measured component by component: those of all would not fit the memory.
    """

    names: tuple[str, ...]
    metric: MetricCollection
    mean_ablation: bool
    together: bool

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        num_learned: int,
        num_input: int,
        clusters: Any,
        mean_ablation: bool,
        together: bool,
    ) -> "Measurement":
        """The metrics for autoencoders of these sizes."""
        metrics = evaluation_metrics(
            num_learned, num_input, len(names), model_losses=True, logits=True, clusters=clusters
        ).metrics
        if mean_ablation:
            metrics["ce_loss_score_mean"] = ReconstructionScore(
                len(names), ablation="mean", clusters=clusters
            )
        by_name: dict[str, Any] = {n: PerComponent(m, names) for n, m in metrics.items()}
        if together:
            of_all: dict[str, AbstractMetric[Any]] = {
                "ce_loss_score": ReconstructionScore(clusters=clusters),
                "ce_loss_increase": LossIncrease(clusters=clusters),
                "ce_loss": ModelLoss(clusters=clusters),
            }
            by_name["together"] = MetricCollection(of_all)
        return cls(names, MetricCollection(by_name), mean_ablation, together)

    def update(
        self,
        state: Any,
        model: Model,
        components: Mapping[str, Component],
        tokens: Int[Array, "batch sequence"],
        mask: Bool[Array, "batch sequence"],
    ) -> Any:
        """The state after one more batch."""
        state = unpooled(state)
        clean, activations = recorded(model, tokens)
        codes, decoded = zip(*(coded(*one, activations) for one in components.items()), strict=True)
        # What is decoded is compared with what it replaces.
        targets = [activations[component.writes] for component in components.values()]
        ablated = {"with_zero_ablation": [jnp.zeros_like(x) for x in targets]}
        if self.mean_ablation:
            ablated["with_mean_ablation"] = masked_mean(targets, mask)
        passes = {"with_reconstruction": list(decoded), **ablated}

        of_one = MetricCollection({name: self._of_one(name) for name in _OF_LOGITS})
        seen_of_logits: list[Any] = []
        losses: dict[str, list[Array]] = {name: [] for name in passes}
        for index, component in enumerate(components.values()):
            logits = {
                name: replaced(model, tokens, component.writes, values[index])
                for name, values in passes.items()
            }
            for name, each in logits.items():
                losses[name].append(next_token_losses(each, tokens))
            inputs = Inputs(
                {
                    "mask": mask,
                    "source_logits": clean,
                    "logits_with_reconstruction": logits["with_reconstruction"],
                    "logits_with_zero_ablation": logits["with_zero_ablation"],
                }
            )
            # One number for each token or text, not summed yet.
            seen = of_one._to_observation(answer(of_one._ask(inputs)))
            # The logits of one component are gone before those of the next are there.
            tokens, seen = lax.optimization_barrier((tokens, seen))
            seen_of_logits.append(seen)
        logits_state = {
            name: self.metric[name].accumulate(
                state[name], self._of_all(name, [seen[name] for seen in seen_of_logits])
            )
            for name in _OF_LOGITS
        }

        clean_losses = next_token_losses(clean, tokens)
        loss_mask = next_token_mask(mask, "source") & next_token_mask(mask, "target")
        state_of_all = {}
        if self.together:
            of_all = _losses_together(model, components, tokens)
            updated = self.metric["together"].update(
                state["together"], mask=loss_mask, source_model_loss=clean_losses, **of_all
            )
            state_of_all = {"together": dict(updated)}
        others = (*_OF_LOGITS, "together")
        of_components = [name for name in self.metric.metrics if name not in others]
        by_input: dict[str, Any] = {
            f"source_model_loss_{name}": jnp.stack(of_each, axis=-1)
            for name, of_each in losses.items()
        }
        rest = self._group(of_components).update(
            {name: state[name] for name in of_components},
            mask=mask,
            loss_mask=loss_mask,
            source_activations=jnp.stack(targets, axis=-2),
            learned_activations=stacked(codes),
            decoded_activations=jnp.stack(decoded, axis=-2),
            source_model_loss=jnp.stack([clean_losses] * len(self.names), axis=-1),
            **by_input,
        )
        return closed({**rest, **logits_state, **state_of_all})

    def _of_one(self, name: str) -> AbstractMetric[Any]:
        """The metric of a name, of a single component."""
        return dataclasses.replace(self._unnamed(name), num_components=None)

    def _of_all(self, name: str, of_each: list[Observation]) -> Observation:
        """What is seen of each component as one observation, so that their errors are paired."""
        parts = jax.tree.map(lambda *each: jnp.stack(each, -1), *(one.parts for one in of_each))
        return Observation(self._unnamed(name)._counted_by, summed(parts))

    def _unnamed(self, name: str) -> Any:
        named: Any = self.metric[name]
        return named.metric

    def _group(self, names: Any) -> MetricCollection:
        return MetricCollection({name: self.metric[name] for name in names})


def _losses_together(
    model: Model, components: Mapping[str, Component], tokens: Int[Array, "batch sequence"]
) -> dict[str, Any]:
    """The losses with all components replaced at once."""
    instead = {"with_reconstruction": _reconstruction, "with_zero_ablation": _zeros}
    return {
        f"source_model_loss_{name}": next_token_losses(
            replaced_together(model, tokens, components, of_one), tokens
        )
        for name, of_one in instead.items()
    }


def _reconstruction(name: str, component: Component, activations: Mapping[Any, Array]) -> Array:
    return coded(name, component, activations)[1]


def _zeros(name: str, component: Component, activations: Mapping[Any, Array]) -> Array:
    return jnp.zeros_like(activations[component.writes])
