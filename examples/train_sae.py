"""Train sparse autoencoders on the residual stream of a small transformer, and score them.

1. A byte-level transformer is trained on the source files of Python's own standard library, or on
   the text given by `--corpus`. Some files are held out.
2. One sparse autoencoder per block learns to reconstruct the residual stream after it. All of them
   are trained in one jitted and donated step, which accumulates the metrics as well.
3. On the held-out text, the residual stream after each block is replaced by its reconstruction and
   by zeros: how much of the loss that zeros cost does the reconstruction win back?

Nothing is downloaded. Run it with

    pip install "jax-sae-metrics[examples]"
    python train_sae.py            # about three minutes on two CPU cores
    python train_sae.py --quick    # a smoke test: all of it in miniature, with poor results

The table that it prints at the end is also written to `metrics.json`.
"""

import argparse
import dataclasses
import json
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from tqdm import tqdm

import jax_sae_metrics as jsm


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on, except its text."""

    seed: int = 0
    batch_size: int = 8
    context_length: int = 64

    num_blocks: int = 3
    num_heads: int = 4
    d_model: int = 96
    transformer_steps: int = 3000
    transformer_learning_rate: float = 4e-3

    num_learned_features: int = 512
    l1_coefficient: float = 1e-2
    sae_steps: int = 3000
    sae_learning_rate: float = 3e-3

    num_validation_batches: int = 300
    steps_per_report: int = 50


QUICK = Config(transformer_steps=60, sae_steps=60, num_validation_batches=20, steps_per_report=10)

Text = UInt8[Array, " byte"]
Tokens = UInt8[Array, "batch sequence"]
TokenLosses = Float[Array, "batch sequence-1"]
Sequence = Float[Array, "sequence d_model"]
Residual = Float[Array, "batch sequence d_model"]
Activations = Float[Array, "batch sequence component d_model"]
LearnedActivations = Float[Array, "batch sequence component learned_feature"]


# Text


def read_corpus(path: Path | None) -> tuple[Text, Text]:
    """The text to train on, and the text held out: every twentieth file."""
    if path is None:
        paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    elif path.is_dir():
        paths = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        paths = [path]
    if not paths:
        raise FileNotFoundError(f"no files in {path}.")
    files = [np.fromfile(file, np.uint8) for file in paths]
    if len(files) < 20:  # then of twenty equal parts
        files = np.array_split(np.concatenate(files), 20)
    train = [file for index, file in enumerate(files) if index % 20]
    return jnp.asarray(np.concatenate(train)), jnp.asarray(np.concatenate(files[::20]))


def sample_tokens(text: Text, batch_size: int, context_length: int, key: PRNGKeyArray) -> Tokens:
    """Random windows of a text."""
    if text.size <= context_length:
        raise ValueError(f"expected more than {context_length} bytes of text, got {text.size}.")
    starts = jax.random.randint(key, (batch_size, 1), 0, text.size - context_length)
    return text[starts + jnp.arange(context_length)]


# Transformer


def rotate(vectors: Float[Array, "sequence head d_head"]) -> Float[Array, "sequence head d_head"]:
    """Rotary position embedding."""
    sequence, _, d_head = vectors.shape
    frequencies = 1e4 ** (-jnp.arange(0, d_head, 2) / d_head)
    angles = jnp.arange(sequence)[:, None, None] * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(vectors, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


class Block(eqx.Module):
    """Causal self-attention and an MLP, each reading from and adding to the residual stream."""

    attention_norm: eqx.nn.LayerNorm
    query_key_value: eqx.nn.Linear
    attention_output: eqx.nn.Linear
    mlp_norm: eqx.nn.LayerNorm
    mlp_input: eqx.nn.Linear
    mlp_output: eqx.nn.Linear
    num_heads: int = eqx.field(static=True)

    def __init__(self, config: Config, key: PRNGKeyArray) -> None:
        d_model, keys = config.d_model, jax.random.split(key, 4)
        self.attention_norm = eqx.nn.LayerNorm(d_model)
        self.query_key_value = eqx.nn.Linear(d_model, 3 * d_model, key=keys[0])
        self.attention_output = eqx.nn.Linear(d_model, d_model, key=keys[1])
        self.mlp_norm = eqx.nn.LayerNorm(d_model)
        self.mlp_input = eqx.nn.Linear(d_model, 4 * d_model, key=keys[2])
        self.mlp_output = eqx.nn.Linear(4 * d_model, d_model, key=keys[3])
        self.num_heads = config.num_heads

    def __call__(self, residual: Sequence) -> Sequence:
        """The residual stream of one sequence after this block."""
        residual = residual + self._attention(jax.vmap(self.attention_norm)(residual))
        return residual + jax.vmap(self._mlp)(jax.vmap(self.mlp_norm)(residual))

    def _attention(self, inputs: Sequence) -> Sequence:
        heads = jax.vmap(self.query_key_value)(inputs)
        heads = heads.reshape(len(inputs), 3, self.num_heads, -1)
        query, key, value = heads[:, 0], heads[:, 1], heads[:, 2]
        mixed = jax.nn.dot_product_attention(rotate(query), rotate(key), value, is_causal=True)
        return jax.vmap(self.attention_output)(mixed.reshape(inputs.shape))

    def _mlp(self, inputs: Float[Array, " d_model"]) -> Float[Array, " d_model"]:
        return self.mlp_output(jax.nn.gelu(self.mlp_input(inputs)))


class Transformer(eqx.Module):
    """A language model that can be read, and resumed, after any of its blocks."""

    embedding: Float[Array, "byte d_model"]
    blocks: tuple[Block, ...]
    final_norm: eqx.nn.LayerNorm
    unembedding: eqx.nn.Linear

    def __init__(self, config: Config, key: PRNGKeyArray) -> None:
        embedding_key, unembedding_key, *block_keys = jax.random.split(key, 2 + config.num_blocks)
        self.embedding = 0.1 * jax.random.normal(embedding_key, (256, config.d_model))
        self.blocks = tuple(Block(config, block_key) for block_key in block_keys)
        self.final_norm = eqx.nn.LayerNorm(config.d_model)
        self.unembedding = eqx.nn.Linear(config.d_model, 256, key=unembedding_key)

    def residual_stream(self, tokens: Tokens) -> Activations:
        """The residual stream after each block."""
        residual, after_block = self.embedding[tokens], []
        for block in self.blocks:
            residual = jax.vmap(block)(residual)
            after_block.append(residual)
        return jnp.stack(after_block, axis=-2)

    def losses_after(self, block_idx: int, residual: Residual, tokens: Tokens) -> TokenLosses:
        """The loss at each token but the first, given the residual stream after one block."""
        for block in self.blocks[block_idx + 1 :]:
            residual = jax.vmap(block)(residual)
        logits = jax.vmap(jax.vmap(self._logits))(residual[:, :-1])
        labels = tokens[:, 1:].astype(jnp.int32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

    def losses(self, tokens: Tokens) -> TokenLosses:
        """The loss at each token but the first."""
        return self.losses_after(-1, self.embedding[tokens], tokens)

    def _logits(self, residual: Float[Array, " d_model"]) -> Float[Array, " byte"]:
        return self.unembedding(self.final_norm(residual))


def warmup_cosine(peak: float, steps: int) -> optax.Schedule:
    """A learning rate that rises for a tenth of the steps, then falls to zero."""
    return optax.warmup_cosine_decay_schedule(0.0, peak, steps // 10, steps)


def train_transformer(config: Config, text: Text, key: PRNGKeyArray) -> Transformer:
    """Train a transformer to predict the next byte."""
    model_key, data_key = jax.random.split(key)
    schedule = warmup_cosine(config.transformer_learning_rate, config.transformer_steps)
    adamw = optax.adamw(schedule, b2=0.99, weight_decay=0.1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), adamw)

    def loss_fn(transformer: Transformer, tokens: Tokens) -> Float[Array, ""]:
        return jnp.mean(transformer.losses(tokens))

    @partial(jax.jit, donate_argnums=(0, 1))
    def train_step(
        transformer: Transformer, opt_state: optax.OptState, text: Text, key: PRNGKeyArray
    ) -> tuple[Transformer, optax.OptState, Float[Array, ""]]:
        tokens = sample_tokens(text, config.batch_size, config.context_length, key)
        loss, gradients = jax.value_and_grad(loss_fn)(transformer, tokens)
        updates, opt_state = optimizer.update(gradients, opt_state, transformer)
        return optax.apply_updates(transformer, updates), opt_state, loss

    transformer = Transformer(config, model_key)
    opt_state = optimizer.init(transformer)
    progress = tqdm(range(config.transformer_steps), desc="Transformer", unit="step")
    for step in progress:
        step_key = jax.random.fold_in(data_key, step)
        transformer, opt_state, loss = train_step(transformer, opt_state, text, step_key)
        if (step + 1) % config.steps_per_report == 0:
            progress.set_postfix(loss=f"{loss:.3f}")
    return transformer


# Sparse autoencoders


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
        # Half of the features fire at first. Scaled so, they decode to about what was encoded.
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
        return jsm.PerComponent(metric, [f"block_{idx}" for idx in range(metric.num_components)])

    return jsm.MetricCollection({name: split(metric) for name, metric in metrics.items()})


def sae_metrics(config: Config) -> jsm.MetricCollection:
    """What is measured of the autoencoders, during training and at the end."""
    num_features, num_components = config.num_learned_features, config.num_blocks
    return by_component(
        {
            "density": jsm.FeatureDensity(num_features, num_components),
            "L0": jsm.L0Norm(num_components),
            "dead": jsm.NeuronActivity(num_features, num_components),
            "L1": jsm.L1AbsoluteLoss(num_components),
            "L2": jsm.L2ReconstructionLoss(num_components),
            "loss": jsm.SparseAutoencoderLoss(config.l1_coefficient, num_components),
        }
    )


def train_saes(config: Config, source: Source, text: Text, key: PRNGKeyArray) -> SparseAutoencoder:
    """Train the autoencoders of all components at once."""
    data_key, *sae_keys = jax.random.split(key, 1 + config.num_blocks)
    optimizer = optax.adam(warmup_cosine(config.sae_learning_rate, config.sae_steps))
    metrics = sae_metrics(config)

    def loss_fn(saes: SparseAutoencoder, source: Activations) -> tuple[Float[Array, ""], Any]:
        learned, decoded = autoencode(saes, source)
        losses = jsm.sparse_autoencoder_loss(source, learned, decoded, config.l1_coefficient)
        observation = metrics.observe(
            source_activations=source, learned_activations=learned, decoded_activations=decoded
        )
        # Summed over components, so that each has the gradients that it would have alone.
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
        tokens = sample_tokens(text, config.batch_size, config.context_length, key)
        activations = source.activations(tokens)
        gradients, observation = jax.grad(loss_fn, has_aux=True)(saes, activations)
        updates, opt_state = optimizer.update(gradients, opt_state)
        saes = with_unit_decoder(optax.apply_updates(saes, updates))
        return saes, opt_state, metrics.accumulate(metric_state, observation)

    create = jax.vmap(SparseAutoencoder, in_axes=(0, None, 0))
    saes = create(source.mean, config.num_learned_features, jnp.stack(sae_keys))
    opt_state, metric_state = optimizer.init(saes), metrics.init()
    progress = tqdm(range(config.sae_steps), desc="Autoencoders", unit="step")
    for step in progress:
        saes, opt_state, metric_state = train_step(
            saes, opt_state, metric_state, source, text, jax.random.fold_in(data_key, step)
        )
        if (step + 1) % config.steps_per_report == 0:
            values = metrics.compute(metric_state)
            shown = ("L0", "dead", "L2", "loss")
            progress.set_postfix({name: f"{values[f'{name}/mean']:.3g}" for name in shown})
            metric_state = metrics.init()  # the next report is of the steps from here on
    return saes


# Validation


class _MeanLossState(eqx.Module):
    total: jsm.Total
    num_tokens: jsm.Count


class MeanLoss(jsm.AbstractMetric[_MeanLossState]):
    """The mean of one of the model's losses: a metric that the library does not have."""

    input_name: str = eqx.field(static=True)
    num_components: int = eqx.field(static=True)

    def _init(self) -> _MeanLossState:
        shape = (self.num_components,)
        return _MeanLossState(total=jsm.Total.zeros(shape), num_tokens=jsm.Count.zeros(shape))

    def _observe(self, batch: jsm.Batch) -> _MeanLossState:
        (losses,) = batch.losses(self, self.input_name)
        return _MeanLossState(total=losses.sum(losses.values), num_tokens=losses.num_items)

    def _compute(self, state: _MeanLossState) -> Float[Array, " component"]:
        return state.total.to_float() / state.num_tokens.to_float()


def loss_metrics(config: Config) -> jsm.MetricCollection:
    """What is measured of the transformer, its residual stream unchanged and replaced."""
    num_components = config.num_blocks
    return by_component(
        {
            "clean": MeanLoss("source_model_loss", num_components),
            "reconstructed": MeanLoss("source_model_loss_with_reconstruction", num_components),
            "zero_ablated": MeanLoss("source_model_loss_with_zero_ablation", num_components),
            "score": jsm.ReconstructionScore(num_components),
        }
    )


def validate(
    config: Config, source: Source, saes: SparseAutoencoder, text: Text, key: PRNGKeyArray
) -> dict[str, Array]:
    """Measure the autoencoders, and what their reconstructions cost the transformer."""
    of_saes, of_losses = sae_metrics(config), loss_metrics(config)

    @partial(jax.jit, donate_argnums=(0, 1))
    def validation_step(
        sae_state: Any,
        loss_state: Any,
        source: Source,
        saes: SparseAutoencoder,
        text: Text,
        key: PRNGKeyArray,
    ) -> tuple[Any, Any]:
        tokens = sample_tokens(text, config.batch_size, config.context_length, key)
        activations = source.activations(tokens)
        learned, decoded = autoencode(saes, activations)
        sae_state = of_saes.update(
            sae_state,
            source_activations=activations,
            learned_activations=learned,
            decoded_activations=decoded,
        )
        clean_losses = source.transformer.losses(tokens)
        reconstructions = decoded * source.scale
        for idx in range(config.num_blocks):
            reconstruction = reconstructions[..., idx, :]
            losses_with = partial(source.transformer.losses_after, idx, tokens=tokens)
            loss_state = of_losses.update(
                loss_state,
                source_model_loss=clean_losses,
                source_model_loss_with_reconstruction=losses_with(reconstruction),
                source_model_loss_with_zero_ablation=losses_with(jnp.zeros_like(reconstruction)),
                component_idx=idx,
            )
        return sae_state, loss_state

    sae_state, loss_state = of_saes.init(), of_losses.init()
    progress = tqdm(range(config.num_validation_batches), desc="Validation", unit="batch")
    for step in progress:
        sae_state, loss_state = validation_step(
            sae_state, loss_state, source, saes, text, jax.random.fold_in(key, step)
        )
        if (step + 1) % config.steps_per_report == 0:
            progress.set_postfix(score=f"{of_losses.compute(loss_state)['score/mean']:.4f}")
    return of_saes.compute(sae_state) | of_losses.compute(loss_state)


# Report


def rows_by_component(results: dict[str, Array]) -> dict[str, dict[str, float]]:
    """The results as plain numbers: a row for each component, and one for their mean."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in results.items():
        metric, component = name.split("/")
        # Of the densities, one per feature, their mean. All other values are scalars.
        rows.setdefault(component, {})[metric] = float(jnp.mean(value))
    return rows


def format_table(rows: dict[str, dict[str, float]]) -> str:
    """The rows under the metrics' names, aligned."""
    decimals = {"L0": 1, "dead": 1, "L1": 2}
    lines = [["", *rows["mean"]]]
    for component, row in rows.items():
        numbers = (f"{value:.{decimals.get(name, 4)}f}" for name, value in row.items())
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
        config = dataclasses.replace(config, sae_steps=arguments.steps)
    model_key, scale_key, sae_key, validation_key = jax.random.split(jax.random.key(config.seed), 4)

    train_text, held_out_text = read_corpus(arguments.corpus)
    print(f"{train_text.size:,} bytes of text to train on, {held_out_text.size:,} held out")
    transformer = train_transformer(config, train_text, model_key)
    scale_tokens = sample_tokens(train_text, 256, config.context_length, scale_key)
    source = jax.jit(Source)(transformer, scale_tokens)
    saes = train_saes(config, source, train_text, sae_key)
    rows = rows_by_component(validate(config, source, saes, held_out_text, validation_key))

    print(format_table(rows))
    num_tokens = config.num_validation_batches * config.batch_size * config.context_length
    print(
        f"Over {num_tokens:,} held-out bytes and {config.num_learned_features} features. "
        f"L2: portion of variance unexplained. loss: L2 + {config.l1_coefficient:g} L1.\n"
        "clean, reconstructed, zero_ablated: loss of the transformer, in nats per byte."
    )
    report = {"configuration": dataclasses.asdict(config), "results": rows}
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
