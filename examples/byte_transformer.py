"""A byte-level transformer on real text, whose residual stream can be read and replaced.

`train_sae.py` and `pareto.py` train their sparse autoencoders on it. Nothing here knows about them,
or about metrics.
"""

import dataclasses
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from tqdm import tqdm

STEPS_PER_REPORT = 20

Text = UInt8[Array, " byte"]
Tokens = UInt8[Array, "batch sequence"]
Positions = Int[np.ndarray, "window sequence"]
Sequence = Float[Array, "sequence d_model"]
Residual = Float[Array, "batch sequence d_model"]
# Gets the residual stream after a block; returns what the transformer goes on with.
Intervene = Callable[[Residual, int], Residual]


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """The shape of a transformer, and how it is trained."""

    num_blocks: int = 3
    num_heads: int = 4
    d_model: int = 96
    context_length: int = 64
    batch_size: int = 8
    steps: int = 3000
    learning_rate: float = 4e-3


def read_corpus(path: Path | None) -> tuple[UInt8[Array, " train"], UInt8[Array, " held_out"]]:
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


def held_out_positions(
    text: Text, config: TransformerConfig, batch_size: int, max_batches: int, key: PRNGKeyArray
) -> list[Positions]:
    """Batches of windows that do not overlap, in random order: the positions of their bytes."""
    starts = np.arange(0, text.size - config.context_length + 1, config.context_length)
    if not starts.size:
        raise ValueError(
            f"expected at least {config.context_length} bytes of held-out text, got {text.size}."
        )
    shuffled = np.asarray(jax.random.permutation(key, starts))[: max_batches * batch_size, None]
    positions = shuffled + np.arange(config.context_length)
    return [positions[at : at + batch_size] for at in range(0, len(positions), batch_size)]


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

    def __init__(self, config: TransformerConfig, key: PRNGKeyArray) -> None:
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


def unchanged(residual: Residual, block_idx: int) -> Residual:
    """What the transformer goes on with where nobody intervenes."""
    return residual


class Transformer(eqx.Module):
    """A language model whose residual stream can be read, and replaced, after any of its blocks."""

    embedding: Float[Array, "byte d_model"]
    blocks: tuple[Block, ...]
    final_norm: eqx.nn.LayerNorm
    unembedding: eqx.nn.Linear

    def __init__(self, config: TransformerConfig, key: PRNGKeyArray) -> None:
        embedding_key, unembedding_key, *block_keys = jax.random.split(key, 2 + config.num_blocks)
        self.embedding = 0.1 * jax.random.normal(embedding_key, (256, config.d_model))
        self.blocks = tuple(Block(config, block_key) for block_key in block_keys)
        self.final_norm = eqx.nn.LayerNorm(config.d_model)
        self.unembedding = eqx.nn.Linear(config.d_model, 256, key=unembedding_key)

    def __call__(
        self, tokens: Tokens, intervene: Intervene = unchanged
    ) -> Float[Array, "batch sequence byte"]:
        """The logits of the next byte. The hook point after block k has the number k."""
        residual = self.embedding[tokens]
        for block_idx, block in enumerate(self.blocks):
            residual = intervene(jax.vmap(block)(residual), block_idx)
        return jax.vmap(jax.vmap(self._logits))(residual)

    def residual_stream(self, tokens: Tokens) -> Float[Array, "batch sequence block d_model"]:
        """The residual stream after each block."""
        after_block = []

        def record(residual: Residual, block_idx: int) -> Residual:
            after_block.append(residual)
            return residual

        self(tokens, record)
        return jnp.stack(after_block, axis=-2)

    def _logits(self, residual: Float[Array, " d_model"]) -> Float[Array, " byte"]:
        return self.unembedding(self.final_norm(residual))


def warmup_cosine(peak: float, steps: int) -> optax.Schedule:
    """A learning rate that rises for a tenth of the steps, then falls to zero."""
    return optax.warmup_cosine_decay_schedule(0.0, peak, steps // 10, steps)


def train_transformer(config: TransformerConfig, text: Text, key: PRNGKeyArray) -> Transformer:
    """Train a transformer to predict the next byte."""
    model_key, data_key = jax.random.split(key)
    schedule = warmup_cosine(config.learning_rate, config.steps)
    adamw = optax.adamw(schedule, b2=0.99, weight_decay=0.1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), adamw)

    def loss_fn(transformer: Transformer, tokens: Tokens) -> Float[Array, ""]:
        labels = tokens.astype(jnp.int32)[:, 1:]
        logits = transformer(tokens[:, :-1])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

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
    progress = tqdm(range(config.steps), desc="Transformer", unit="step")
    for step in progress:
        step_key = jax.random.fold_in(data_key, step)
        transformer, opt_state, loss = train_step(transformer, opt_state, text, step_key)
        if (step + 1) % STEPS_PER_REPORT == 0:
            progress.set_postfix(loss=f"{loss:.3f}")
    return transformer
