"""Compare four architectures of sparse autoencoders at three sparsities each, on the same tokens.

1. A byte-level transformer is trained, as in `train_sae.py`.
2. Twelve autoencoders learn to reconstruct the residual stream after its middle block, side by side
   in one jitted step. They are the twelve components of its metrics. `architectures.py` says what
   the architectures are.
3. All are evaluated at one hook point, on the same held-out text. Their differences are paired, and
   known better than the numbers that they are the differences of.

It shows how to compare, and not which architecture wins: the transformer is small, training is
short, and constants were chosen to come to the wanted sparsities, and not for good scores. Run it
with

    python examples/pareto.py            # about four minutes on two CPU cores
    python examples/pareto.py --quick    # a smoke test: all of it in miniature

It prints two tables, and writes numbers, a picture and a report to `results/pareto`.
"""

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray
from tqdm import tqdm

import jax_sae_metrics as jsm
from architectures import (
    ARCHITECTURES,
    EVALUATED,
    SPARSITIES,
    Activate,
    Autoencoder,
    batch_threshold,
)
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
from jax_sae_metrics.evaluation import Component, Evaluation, evaluate
from sparse_autoencoder import (
    InModel,
    Learned,
    Residual,
    Source,
    SparseAutoencoder,
    with_unit_decoder,
)

HOOK_POINT = 1  # after the middle one of three blocks
NAMES = [f"{architecture}_{k}" for architecture in ARCHITECTURES for k in SPARSITIES]
SHOWN = ("l0", "explained_variance", "ce_loss_score")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on, except its text."""

    seed: int = 0
    transformer: TransformerConfig = dataclasses.field(
        default_factory=lambda: TransformerConfig(steps=1500)
    )
    num_learned_features: int = 256
    steps: int = 1500
    learning_rate: float = 3e-3
    dead_after_tokens: int = 100_000
    num_validation_batches: int = 40


QUICK = Config(
    transformer=TransformerConfig(steps=60),
    num_learned_features=64,
    steps=60,
    dead_after_tokens=5_000,
    num_validation_batches=2,
)


def group(index: int) -> slice:
    """Where the components of one architecture are."""
    return slice(index * len(SPARSITIES), (index + 1) * len(SPARSITIES))


def new_autoencoders(config: Config, source: Source, key: PRNGKeyArray) -> Autoencoder:
    """One for each architecture and sparsity. All begin with the same weights."""
    one = Autoencoder(SparseAutoencoder(source.mean[HOOK_POINT], config.num_learned_features, key))
    return jax.tree.map(lambda array: jnp.stack([array] * len(NAMES)), one)


def autoencode(
    autoencoders: Autoencoder, source: Float[Array, "batch sequence d_model"]
) -> tuple[Array, Array, Float[Array, " component"]]:
    """The learned and the decoded activations of all components, and their penalties."""
    saes, all_learned, penalties = autoencoders.sae, [], []
    inputs = jax.vmap(SparseAutoencoder.pre_activations, (0, None), -2)(saes, source)
    for index, activate in enumerate(ARCHITECTURES.values()):
        at = group(index)
        of_group = jax.tree.map(lambda array, at=at: array[at], autoencoders)
        learned, penalty = jax.vmap(activate, (0, -2, 0), (-2, 0))(
            of_group, inputs[..., at, :], jnp.array(SPARSITIES)
        )
        all_learned.append(learned)
        penalties.append(penalty)
    learned = jnp.concatenate(all_learned, axis=-2)
    decoded = jax.vmap(SparseAutoencoder.decode, (0, -2), -2)(saes, learned)
    return learned, decoded, jnp.concatenate(penalties)


def train(config: Config, source: Source, text: Text, key: PRNGKeyArray) -> Autoencoder:
    """Train all autoencoders at once, on the same activations."""
    sae_key, data_key = jax.random.split(key)
    shape = config.transformer
    optimizer = optax.adam(warmup_cosine(config.learning_rate, config.steps))
    metrics = jsm.training_metrics(
        config.num_learned_features,
        shape.d_model,
        num_components=len(NAMES),
        dead_after_tokens=config.dead_after_tokens,
    )

    def loss_fn(autoencoders: Autoencoder, source: Residual) -> tuple[Float[Array, ""], Any]:
        learned, decoded, penalties = autoencode(autoencoders, source)
        source = source[..., None, :]  # the same for all components
        losses = jsm.l2_reconstruction_loss(jnp.broadcast_to(source, decoded.shape), decoded)
        observation = metrics.observe(
            source_activations=source, learned_activations=learned, decoded_activations=decoded
        )
        return jnp.sum(jnp.mean(losses, axis=(0, 1)) + penalties), observation

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def train_step(
        autoencoders: Autoencoder,
        opt_state: optax.OptState,
        metric_state: Any,
        source: Source,
        text: Text,
        key: PRNGKeyArray,
    ) -> tuple[Autoencoder, optax.OptState, Any]:
        tokens = sample_tokens(text, shape.batch_size, shape.context_length, key)
        activations = source.activations(tokens)[..., HOOK_POINT, :]
        gradients, observation = jax.grad(loss_fn, has_aux=True)(autoencoders, activations)
        updates, opt_state = optimizer.update(gradients, opt_state)
        autoencoders = optax.apply_updates(autoencoders, updates)
        saes = with_unit_decoder(autoencoders.sae)
        autoencoders = eqx.tree_at(lambda every: every.sae, autoencoders, saes)
        return autoencoders, opt_state, metrics.accumulate(metric_state, observation)

    autoencoders = new_autoencoders(config, source, sae_key)
    opt_state, metric_state = optimizer.init(autoencoders), metrics.init()
    progress = tqdm(range(config.steps), desc="Autoencoders", unit="step")
    for step in progress:
        step_key = jax.random.fold_in(data_key, step)
        autoencoders, opt_state, metric_state = train_step(
            autoencoders, opt_state, metric_state, source, text, step_key
        )
        if (step + 1) % STEPS_PER_REPORT == 0:
            values = metrics.compute(metric_state)
            fewest, most = values["l0"].min(), values["l0"].max()
            num_dead = values["dead_features"].max()
            progress.set_postfix(l0=f"{fewest:.1f} to {most:.1f}", dead=f"0 to {num_dead}")
            metric_state = metrics.reset(metric_state)
    return autoencoders


@jax.jit
def with_batch_thresholds(
    autoencoders: Autoencoder, source: Source, batches: Int[Array, "step batch sequence"]
) -> Autoencoder:
    """The same, with the mean of the thresholds that BatchTopK had in some batches."""
    at = group(list(ARCHITECTURES).index("BatchTopK"))
    saes = jax.tree.map(lambda array: array[at], autoencoders.sae)

    def thresholds(tokens: Int[Array, "batch sequence"]) -> Float[Array, " k"]:
        activations = source.activations(tokens)[..., HOOK_POINT, :]
        inputs = jax.vmap(SparseAutoencoder.pre_activations, (0, None))(saes, activations)
        return jax.vmap(batch_threshold)(inputs, jnp.array(SPARSITIES))

    means = jnp.mean(jax.lax.map(thresholds, batches), axis=0)
    return eqx.tree_at(
        lambda every: every.threshold,
        autoencoders,
        autoencoders.threshold.at[at].set(means[:, None]),
    )


def components(autoencoders: Autoencoder, source: Source) -> dict[str, Component]:
    """The autoencoders by their names, all at one hook point."""

    def autoencode_one(
        activate: Activate, one: Autoencoder, k: Int[Array, ""], source: Residual
    ) -> tuple[Learned, Residual]:
        learned, _ = activate(one, one.sae.pre_activations(source), k)
        return learned, one.sae.decode(learned)

    found = {}
    for index, name in enumerate(NAMES):
        architecture, k = name.split("_")
        one = jax.tree.map(lambda array, index=index: array[index], autoencoders)
        function = Partial(partial(autoencode_one, EVALUATED[architecture]), one, jnp.array(int(k)))
        found[name] = Component(InModel(function, source.scale[HOOK_POINT]), reads=HOOK_POINT)
    return found


def show(result: Evaluation, differences: dict[str, Any]) -> None:
    """Print the results, and their differences at the same sparsity."""

    def line(name: str, cells: list[str]) -> str:
        return f"{name:24}" + "".join(f"{cell:>22}" for cell in cells)

    print(line("", [*SHOWN]))
    for name in result.names:
        keys = [f"{shown}/{name}" for shown in SHOWN]
        print(line(name, [f"{result.values[key]:.4f} ± {result.errors[key]:.4f}" for key in keys]))
    print("\nDifferences, with the errors of paired differences:")
    for name, difference in differences.items():
        cells = (difference[shown] for shown in SHOWN)
        print(line(name, [f"{value:+.4f} ± {error:.4f}" for value, error in cells]))


def differences_from_relu(result: Evaluation) -> dict[str, dict[str, tuple[float, float]]]:
    """Each architecture minus ReLU, where both were to have the same number of active features."""
    return {
        f"{architecture}_{k} - ReLU_{k}": result.difference(f"{architecture}_{k}", f"ReLU_{k}")
        for k in SPARSITIES
        for architecture in ARCHITECTURES
        if architecture != "ReLU"
    }


def draw(result: Evaluation) -> Any:
    """The score of each autoencoder by its sparsity; return the figure."""
    return plot.pareto(result, series=[name.split("_")[0] for name in result.names]).figure


def main() -> None:
    """Train the transformer, train the autoencoders, evaluate, show."""
    arguments = new_parser("Compare architectures of autoencoders.", "pareto").parse_args()
    config = dataclasses.replace(QUICK if arguments.quick else Config(), seed=arguments.seed)
    keys = jax.random.split(jax.random.key(config.seed), 5)
    shape = config.transformer

    train_text, held_out_text = read_corpus(arguments.corpus)
    print(f"{train_text.size:,} bytes of text to train on, {held_out_text.size:,} held out")
    transformer = train_transformer(shape, train_text, keys[0])
    scale_tokens = sample_tokens(train_text, 256, shape.context_length, keys[1])
    source = jax.jit(Source)(transformer, scale_tokens)
    autoencoders = train(config, source, train_text, keys[2])
    some = sample_tokens(train_text, 50 * shape.batch_size, shape.context_length, keys[3])
    batches = some.reshape(50, shape.batch_size, shape.context_length)
    autoencoders = with_batch_thresholds(autoencoders, source, batches)

    positions = held_out_positions(held_out_text, shape, 32, config.num_validation_batches, keys[4])
    windows = [held_out_text[each] for each in positions]
    result = evaluate(transformer, components(autoencoders, source), windows)
    result.about["seed"] = str(config.seed)
    differences = differences_from_relu(result)
    show(result, differences)

    output = output_folder(arguments, "pareto")
    write(
        result,
        output,
        title="Four architectures of sparse autoencoders",
        configuration=dataclasses.asdict(config),
        differences=differences,
    )
    draw(result).savefig(output / "pareto.png")
    if arguments.quick:
        print("\nWith --quick, all models are trained far too little for good results.")
    print(f"\nNumbers, the picture and report.html are in {output}.")


if __name__ == "__main__":
    main()
