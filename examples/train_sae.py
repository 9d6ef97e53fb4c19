"""Train sparse autoencoders on the residual stream of a small transformer, and score them.

1. A byte-level transformer is trained on the source files of Python's own standard library, or on
   the text given by `--corpus`. Some files are held out.
2. One sparse autoencoder per block learns to reconstruct the residual stream after it. All of them
   are trained in one jitted and donated step, which accumulates the metrics as well.
3. On the held-out text, the residual stream after each block is replaced by its reconstruction and
   by zeros: how much of the loss that zeros cost does the reconstruction win back? Error bars are
   over windows of text, since the bytes of one window are not independent.

Nothing is downloaded. Run it with

    python examples/train_sae.py            # about three minutes on two CPU cores
    python examples/train_sae.py --quick    # a smoke test: all of it in miniature

The tables that it prints at the end are also written to `metrics.json`.
"""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

import jax_sae_metrics as jsm
from byte_transformer import (
    STEPS_PER_REPORT,
    Activations,
    Residual,
    Text,
    Tokens,
    Transformer,
    TransformerConfig,
    read_corpus,
    sample_tokens,
    train_transformer,
    warmup_cosine,
)

Clusters: TypeAlias = Literal["items", "prompts"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on, except its text."""

    seed: int = 0
    transformer: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    num_learned_features: int = 512
    l1_coefficient: float = 1e-2
    steps: int = 3000
    learning_rate: float = 3e-3
    num_validation_batches: int = 300

    @property
    def num_components(self) -> int:
        """One component per block."""
        return self.transformer.num_blocks


QUICK = Config(transformer=TransformerConfig(steps=60), steps=60, num_validation_batches=20)

LEGEND = """\
L0             features active at once
dead           features that never fired
L1, L2         of activations scaled to unit variance: L2 is the portion of variance unexplained
loss           what was trained: L2 plus the coefficient times L1
clean          loss of the transformer in nats per byte
reconstructed  the same, with the residual stream after this block replaced by its reconstruction
zero_ablated   the same, replaced by zeros
score          (zero_ablated - reconstructed) / (zero_ablated - clean)
"""
# The names in `ModelLoss`. All other columns have the names of their metrics.
COLUMNS = {
    "source": "clean",
    "with_reconstruction": "reconstructed",
    "with_zero_ablation": "zero_ablated",
}

# What the error bars take for independent: windows of text, or bytes.
CLUSTERS: tuple[Clusters, ...] = ("prompts", "items")

LearnedActivations = Float[Array, "batch sequence component learned_feature"]


def sample_batch(config: Config, text: Text, key: PRNGKeyArray) -> Tokens:
    """Random windows of a text, as many and as long as the transformer was trained on."""
    shape = config.transformer
    return sample_tokens(text, shape.batch_size, shape.context_length, key)


class Source(eqx.Module):
    """Where the autoencoders' activations come from: a transformer that is no longer trained.

    Each component's activations are divided by one number, measured on some tokens, so that they
    have unit variance. An L1 coefficient then means the same for every component, and L2 is the
    portion of variance unexplained.
    """

    transformer: Transformer
    scale: Float[Array, "component 1"]
    mean: Float[Array, "component d_model"]

    def __init__(self, transformer: Transformer, tokens: Tokens) -> None:
        residual = transformer.residual_stream(tokens)
        variance = jnp.var(residual, axis=(0, 1))
        self.transformer = transformer
        self.scale = jnp.sqrt(jnp.mean(variance, axis=-1, keepdims=True))
        self.mean = jnp.mean(residual, axis=(0, 1)) / self.scale

    def activations(self, tokens: Tokens) -> Activations:
        """The scaled residual stream after each block."""
        return self.transformer.residual_stream(tokens) / self.scale


class SparseAutoencoder(eqx.Module):
    """A sparse autoencoder, or one per component: then with a component axis in front."""

    encoder: Float[Array, "*component d_model learned_feature"]
    encoder_bias: Float[Array, "*component learned_feature"]
    decoder: Float[Array, "*component learned_feature d_model"]
    decoder_bias: Float[Array, "*component d_model"]

    def __init__(
        self, mean: Float[Array, " d_model"], num_learned_features: int, key: PRNGKeyArray
    ) -> None:
        (d_model,) = mean.shape
        directions = jax.random.normal(key, (num_learned_features, d_model))
        self.decoder = directions / jnp.linalg.norm(directions, axis=-1, keepdims=True)
        # Half of the features fire at first. With this scale, they decode to about what was
        # encoded.
        self.encoder = self.decoder.T * (2 * d_model / num_learned_features)
        self.encoder_bias = jnp.zeros(num_learned_features)
        self.decoder_bias = mean

    def __call__(
        self, source: Float[Array, "batch sequence d_model"]
    ) -> tuple[Float[Array, "batch sequence learned_feature"], Residual]:
        """The learned and the decoded activations."""
        learned = jax.nn.relu((source - self.decoder_bias) @ self.encoder + self.encoder_bias)
        return learned, learned @ self.decoder + self.decoder_bias


def autoencode(
    saes: SparseAutoencoder, source: Activations
) -> tuple[LearnedActivations, Activations]:
    """The learned and the decoded activations of all components."""
    return jax.vmap(SparseAutoencoder.__call__, in_axes=(0, -2), out_axes=-2)(saes, source)


def with_unit_decoder(saes: SparseAutoencoder) -> SparseAutoencoder:
    """Every feature's decoder row at unit norm, since longer ones would evade the L1 penalty."""
    norms = jnp.linalg.norm(saes.decoder, axis=-1, keepdims=True)
    return eqx.tree_at(lambda saes: saes.decoder, saes, saes.decoder / norms)


def by_component(metrics: dict[str, jsm.AbstractMetric[Any]]) -> jsm.MetricCollection:
    """A collection with results named by metric and component, such as "L0/block_1"."""

    def split(metric: Any) -> jsm.PerComponent:
        names = tuple(f"block_{idx}" for idx in range(metric.num_components))
        return jsm.PerComponent(metric, names)

    return jsm.MetricCollection({name: split(metric) for name, metric in metrics.items()})


def sae_metrics(config: Config, clusters: Clusters = "items") -> dict[str, jsm.AbstractMetric[Any]]:
    """Metrics of the autoencoders, during training and at the end."""
    num_features, num_components = config.num_learned_features, config.num_components
    l1_coefficient = config.l1_coefficient
    return {
        "L0": jsm.L0Norm(num_components, clusters=clusters),
        "dead": jsm.NeuronActivity(num_features, num_components),
        "L1": jsm.L1AbsoluteLoss(num_components, clusters=clusters),
        "L2": jsm.L2ReconstructionLoss(num_components, clusters=clusters),
        "loss": jsm.SparseAutoencoderLoss(l1_coefficient, num_components, clusters=clusters),
    }


def train_saes(config: Config, source: Source, text: Text, key: PRNGKeyArray) -> SparseAutoencoder:
    """Train the autoencoders of all components at once."""
    data_key, *sae_keys = jax.random.split(key, 1 + config.num_components)
    optimizer = optax.adam(warmup_cosine(config.learning_rate, config.steps))
    metrics = by_component(sae_metrics(config))

    def loss_fn(saes: SparseAutoencoder, source: Activations) -> tuple[Float[Array, ""], Any]:
        learned, decoded = autoencode(saes, source)
        losses = jsm.sparse_autoencoder_loss(source, learned, decoded, config.l1_coefficient)
        observation = metrics.observe(
            source_activations=source, learned_activations=learned, decoded_activations=decoded
        )
        # The sum over components, so that each has the gradients that it would have alone.
        return jnp.sum(jnp.mean(losses, axis=(0, 1))), observation

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def train_step(
        saes: SparseAutoencoder,
        opt_state: optax.OptState,
        metric_state: Any,
        source: Source,
        text: Text,
        key: PRNGKeyArray,
    ) -> tuple[SparseAutoencoder, optax.OptState, Any]:
        tokens = sample_batch(config, text, key)
        activations = source.activations(tokens)
        gradients, observation = jax.grad(loss_fn, has_aux=True)(saes, activations)
        updates, opt_state = optimizer.update(gradients, opt_state)
        saes = with_unit_decoder(optax.apply_updates(saes, updates))
        return saes, opt_state, metrics.accumulate(metric_state, observation)

    create = jax.vmap(SparseAutoencoder, in_axes=(0, None, 0))
    saes = create(source.mean, config.num_learned_features, jnp.stack(sae_keys))
    opt_state, metric_state = optimizer.init(saes), metrics.init()
    progress = tqdm(range(config.steps), desc="Autoencoders", unit="step")
    for step in progress:
        saes, opt_state, metric_state = train_step(
            saes, opt_state, metric_state, source, text, jax.random.fold_in(data_key, step)
        )
        if (step + 1) % STEPS_PER_REPORT == 0:
            values = metrics.compute(metric_state)
            shown = ("L0", "dead", "L2", "loss")
            progress.set_postfix({name: f"{values[f'{name}/mean']:.3g}" for name in shown})
            metric_state = metrics.init()  # the next report is of the steps from here on
    return saes


def validation_metrics(config: Config, clusters: Clusters) -> jsm.MetricCollection:
    """Those of the autoencoders, and those of the transformer with its residual stream replaced."""
    num_components = config.num_components
    of_losses = {
        "model": jsm.ModelLoss(num_components, clusters=clusters),
        "score": jsm.ReconstructionScore(num_components, clusters=clusters),
    }
    return by_component(sae_metrics(config, clusters) | of_losses)


def validate(
    config: Config, source: Source, saes: SparseAutoencoder, text: Text, key: PRNGKeyArray
) -> dict[str, dict[str, Array]]:
    """Measure the autoencoders, and what their reconstructions cost the transformer.

    The errors are over windows of text, and are also given as multiples of the errors that take
    the bytes of a window for independent.
    """
    by_unit = {unit: validation_metrics(config, unit) for unit in CLUSTERS}
    metrics = jsm.MetricCollection(by_unit)

    @partial(jax.jit, donate_argnums=0)
    def validation_step(
        state: Any, source: Source, saes: SparseAutoencoder, text: Text, key: PRNGKeyArray
    ) -> Any:
        tokens = sample_batch(config, text, key)
        activations = source.activations(tokens)
        learned, decoded = autoencode(saes, activations)

        def losses_with(replaced: Activations) -> Float[Array, "batch sequence-1 component"]:
            losses = (
                source.transformer.losses_after(idx, replaced[..., idx, :], tokens=tokens)
                for idx in range(config.num_components)
            )
            return jnp.stack(list(losses), axis=-1)

        reconstructed_losses = losses_with(decoded * source.scale)
        clean_losses = source.transformer.losses(tokens)[..., None]
        return metrics.update(
            state,
            source_activations=activations,
            learned_activations=learned,
            decoded_activations=decoded,
            source_model_loss=jnp.broadcast_to(clean_losses, reconstructed_losses.shape),
            source_model_loss_with_reconstruction=reconstructed_losses,
            source_model_loss_with_zero_ablation=losses_with(jnp.zeros_like(decoded)),
        )

    state, by_text = metrics.init(), by_unit["prompts"]
    progress = tqdm(range(config.num_validation_batches), desc="Validation", unit="batch")
    for step in progress:
        state = validation_step(state, source, saes, text, jax.random.fold_in(key, step))
        if (step + 1) % STEPS_PER_REPORT == 0:
            values = by_text.compute(state["prompts"])
            progress.set_postfix(score=f"{values['score/mean']:.4f}")
    errors = {unit: each.standard_error(state[unit]) for unit, each in by_unit.items()}
    return {
        "results": by_text.compute(state["prompts"]),
        "standard_errors": errors["prompts"],
        "times_the_error_over_bytes": jax.tree.map(jnp.divide, *errors.values()),
    }


def rows_by_component(results: dict[str, Array]) -> dict[str, dict[str, float]]:
    """The results as plain numbers: a row for each component, and one for their mean."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in results.items():
        *_, metric, component = name.split("/")
        rows.setdefault(component, {})[COLUMNS.get(metric, metric)] = float(value)
    return rows


def format_table(
    rows: dict[str, dict[str, float]], decimals: int, with_one_decimal: tuple[str, ...] = ()
) -> str:
    """The rows under the metrics' names, aligned."""
    lines = [["", *rows["mean"]]]
    for component, row in rows.items():
        numbers = (
            f"{value:.{1 if name in with_one_decimal else decimals}f}"
            for name, value in row.items()
        )
        lines.append([component, *numbers])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([cell.rjust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line) for line in padded)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train sparse autoencoders and score them.")
    add = parser.add_argument
    add("--corpus", type=Path, help="text file, or folder of them (default: standard library)")
    add(
        "--steps",
        type=int,
        help="training steps of the autoencoders (the transformer keeps its own)",
    )
    add("--quick", action="store_true", help="a smoke test: few steps, poor results")
    add("--seed", type=int, default=Config.seed)
    add("--output", type=Path, default=Path("metrics.json"), help="where the results are written")
    return parser.parse_args()


def main() -> None:
    """Train the transformer, train its autoencoders, validate, report."""
    arguments = parse_arguments()
    config = dataclasses.replace(QUICK if arguments.quick else Config(), seed=arguments.seed)
    if arguments.steps is not None:
        config = dataclasses.replace(config, steps=arguments.steps)
    model_key, scale_key, sae_key, validation_key = jax.random.split(jax.random.key(config.seed), 4)

    train_text, held_out_text = read_corpus(arguments.corpus)
    print(f"{train_text.size:,} bytes of text to train on, {held_out_text.size:,} held out")
    transformer = train_transformer(config.transformer, train_text, model_key)
    scale_tokens = sample_tokens(train_text, 256, config.transformer.context_length, scale_key)
    source = jax.jit(Source)(transformer, scale_tokens)
    saes = train_saes(config, source, train_text, sae_key)
    measured = validate(config, source, saes, held_out_text, validation_key)
    tables = {name: rows_by_component(results) for name, results in measured.items()}

    print(format_table(tables["results"], 4, ("L0", "dead")))
    num_windows = config.num_validation_batches * config.transformer.batch_size
    print(
        f"\nOver {num_windows:,} held-out windows of {config.transformer.context_length} bytes, "
        f"{config.num_learned_features} features per component.\n" + LEGEND
    )
    print("Standard errors, with windows of text as the independent units:")
    print(format_table(tables["standard_errors"], 5))
    print("\nThe same, as multiples of the errors that take all bytes for independent:")
    print(format_table(tables["times_the_error_over_bytes"], 1))
    if arguments.quick:
        print("\nWith --quick, both models are trained far too little for good results.")
    print(f"Written to {arguments.output}.")
    report = {"configuration": dataclasses.asdict(config)} | tables
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
