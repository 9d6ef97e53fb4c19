"""Train sparse autoencoders on the residual stream of a small transformer, and evaluate them.

1. A byte-level transformer is trained on the source files of Python's own standard library, or on
   the text given by `--corpus`. Some files are held out.
2. One sparse autoencoder per block learns to reconstruct the residual stream after it. All of them
   are trained in one jitted and donated step, which accumulates the metrics as well.
3. On the held-out text, the residual stream after each block is replaced by its reconstruction and
   by zeros: how much of the loss that zeros cost does the reconstruction win back? Error bars are
   over windows of text, since the bytes of one window are not independent.
4. A pass over the held-out text finds where features are most active.

Nothing is downloaded. Run it with

    python examples/train_sae.py            # about five minutes on two CPU cores
    python examples/train_sae.py --quick    # a smoke test: all of it in miniature

It prints a table, and writes numbers, pictures and a report to `results/train_sae`.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

import jax_sae_metrics as jsm
from byte_transformer import (
    STEPS_PER_REPORT,
    Text,
    TransformerConfig,
    held_out_positions,
    read_corpus,
    sample_tokens,
    train_transformer,
    warmup_cosine,
)
from example_run import new_parser, output_folder, write
from jax_sae_metrics import plot
from jax_sae_metrics.evaluation import Evaluation, evaluate
from sparse_autoencoder import (
    Activations,
    InModel,
    Source,
    SparseAutoencoder,
    autoencode,
    with_unit_decoder,
)
from top_examples import Found, find_examples


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on, except its text."""

    seed: int = 0
    transformer: TransformerConfig = dataclasses.field(default_factory=TransformerConfig)
    num_learned_features: int = 512
    l1_coefficient: float = 1e-2
    steps: int = 3000
    learning_rate: float = 3e-3
    dead_after_tokens: int = 100_000
    num_validation_batches: int = 40

    @property
    def names(self) -> list[str]:
        """One component per block."""
        return [f"block_{index}" for index in range(self.transformer.num_blocks)]


QUICK = Config(
    transformer=TransformerConfig(steps=60),
    steps=60,
    dead_after_tokens=5_000,
    num_validation_batches=4,
)

LEGEND = """\
l0, l1                   features active at once, and the sum of their activations
explained_variance       of the residual stream, by its reconstruction
ce_loss/source           loss of the transformer, in nats per byte
.../with_reconstruction  the same, with the residual stream after this block reconstructed
.../with_zero_ablation   the same, replaced by zeros
ce_loss_score            portion of what zeros cost that the reconstruction wins back
"""


def train_saes(
    config: Config, source: Source, text: Text, key: PRNGKeyArray
) -> tuple[SparseAutoencoder, list[dict[str, float]]]:
    """Train the autoencoders of all components at once; return them, and metrics over time."""
    data_key, *sae_keys = jax.random.split(key, 1 + len(config.names))
    optimizer = optax.adam(warmup_cosine(config.learning_rate, config.steps))
    metrics = jsm.PerComponent(
        jsm.training_metrics(
            config.num_learned_features,
            config.transformer.d_model,
            len(config.names),
            dead_after_tokens=config.dead_after_tokens,
        ),
        config.names,
    )

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
        shape = config.transformer
        tokens = sample_tokens(text, shape.batch_size, shape.context_length, key)
        gradients, observation = jax.grad(loss_fn, has_aux=True)(saes, source.activations(tokens))
        updates, opt_state = optimizer.update(gradients, opt_state)
        saes = with_unit_decoder(optax.apply_updates(saes, updates))
        return saes, opt_state, metrics.accumulate(metric_state, observation)

    create = jax.vmap(SparseAutoencoder, in_axes=(0, None, 0))
    saes = create(source.mean, config.num_learned_features, jnp.stack(sae_keys))
    opt_state, metric_state = optimizer.init(saes), metrics.init()
    history = []
    progress = tqdm(range(config.steps), desc="Autoencoders", unit="step")
    for step in progress:
        saes, opt_state, metric_state = train_step(
            saes, opt_state, metric_state, source, text, jax.random.fold_in(data_key, step)
        )
        if (step + 1) % STEPS_PER_REPORT == 0:
            values = jsm.scalars(metrics, metric_state)
            shown = ("l0", "explained_variance", "dead_features")
            progress.set_postfix({name: f"{values[f'{name}/mean']:.3g}" for name in shown})
            tokens_seen = (
                (step + 1) * config.transformer.batch_size * config.transformer.context_length
            )
            history.append({"tokens_seen": tokens_seen} | values)
            metric_state = metrics.reset(metric_state)  # which keeps the ages of features
    return saes, history


def in_model(config: Config, source: Source, saes: SparseAutoencoder) -> dict[str, InModel]:
    """The autoencoders by their names, in the order of the transformer's hook points."""

    def alone(index: int) -> InModel:
        return InModel(jax.tree.map(lambda array: array[index], saes), source.scale[index])

    return {name: alone(index) for index, name in enumerate(config.names)}


def typical_features(result: Evaluation) -> dict[str, int]:
    """Of each component, the feature that has the median density among those that fired."""
    metric, state = result.metric["feature_density"], result.state["feature_density"]
    densities = {name: np.asarray(values) for name, values in metric.compute(state).items()}
    return {
        name: int(np.argsort(density)[(np.sum(density == 0) + density.size) // 2])
        for name, density in densities.items()
    }


def draw(
    result: Evaluation, history: list[dict[str, float]], found: dict[str, Found], output: Path
) -> None:
    """Pictures of the result, of the training, and of one feature per component."""
    plot.density_histogram(result).figure.savefig(output / "density.png")
    plot.loss_bars(result).figure.savefig(output / "losses.png")
    tokens_seen = [step["tokens_seen"] for step in history]
    num_dead = [[step[f"dead_features/{name}"] for name in result.names] for step in history]
    ax = plot.dead_features_over_time(tokens_seen, num_dead, result.names)
    ax.figure.savefig(output / "dead_features.png")
    for component, feature in found.items():
        ax = plot.activation_histogram(feature.activations, feature.examples)
        ax.figure.savefig(output / f"top_examples_{component}.png")


def main() -> None:
    """Train the transformer, train its autoencoders, evaluate, show."""
    parser = new_parser("Train sparse autoencoders and evaluate them.", "train_sae")
    parser.add_argument(
        "--steps",
        type=int,
        help="training steps of the autoencoders (the transformer keeps its own)",
    )
    arguments = parser.parse_args()
    config = dataclasses.replace(QUICK if arguments.quick else Config(), seed=arguments.seed)
    if arguments.steps is not None:
        config = dataclasses.replace(config, steps=arguments.steps)
    model_key, scale_key, sae_key, validation_key = jax.random.split(jax.random.key(config.seed), 4)

    train_text, held_out_text = read_corpus(arguments.corpus)
    print(f"{train_text.size:,} bytes of text to train on, {held_out_text.size:,} held out")
    transformer = train_transformer(config.transformer, train_text, model_key)
    scale_tokens = sample_tokens(train_text, 256, config.transformer.context_length, scale_key)
    source = jax.jit(Source)(transformer, scale_tokens)
    saes, history = train_saes(config, source, train_text, sae_key)

    positions = held_out_positions(
        held_out_text, config.transformer, 64, config.num_validation_batches, validation_key
    )
    windows = [held_out_text[each] for each in positions]
    result = evaluate(transformer, in_model(config, source, saes), windows)
    result.about["seed"] = str(config.seed)
    difference = result.difference(config.names[0], config.names[-1])
    found = find_examples(source, saes, held_out_text, positions, typical_features(result))

    print(result)
    num_windows = sum(map(len, windows))
    print(
        f"\nOver {num_windows:,} held-out windows of {config.transformer.context_length} bytes, "
        f"with standard errors over windows.\n{LEGEND}"
    )
    print(f"{config.names[0]} minus {config.names[-1]}, with the errors of paired differences:")
    for name in ("l0", "explained_variance", "ce_loss_score"):
        value, error = difference[name]
        print(f"{name:20}{value:9.4f} ± {error:.4f}")
    for component, feature in found.items():
        print(f"\nFeature {feature.index} of {component} is most active at the marked bytes:")
        for activation, text in feature.examples:
            print(f"{activation:6.2f}  {text}")

    output = output_folder(arguments, "train_sae")
    write(
        result,
        output,
        title="Sparse autoencoders on a byte-level transformer",
        configuration=dataclasses.asdict(config),
        difference=difference,
        training=history,
    )
    draw(result, history, found, output)
    if arguments.quick:
        print("\nWith --quick, both models are trained far too little for good results.")
    print(f"\nNumbers, pictures and report.html are in {output}.")


if __name__ == "__main__":
    main()
