"""Where in a text a feature is most active, and the text around."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jax_sae_metrics as jsm
from byte_transformer import Positions, Text
from sparse_autoencoder import Source, SparseAutoencoder, autoencode

NUM_EXAMPLES = 5
BEFORE, AFTER = 25, 10  # bytes of text around the one that is marked


class Found(NamedTuple):
    """What one feature does in a text."""

    index: int
    activations: Float[np.ndarray, " byte"]
    examples: list[tuple[float, str]]  # its largest activations, and the text around them


def find_examples(
    source: Source,
    saes: SparseAutoencoder,
    text: Text,
    batches: list[Positions],
    features: dict[str, int],
) -> dict[str, Found]:
    """Find where in a text one feature of each component is most active.

    The batches hold positions of bytes in the text, which are also the ids of the examples.
    """
    num_components, _, num_learned_features = saes.encoder.shape
    components, indices = np.arange(num_components), np.array(list(features.values()))
    top = jsm.TopActivatingExamples(num_learned_features, NUM_EXAMPLES, num_components)

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: Any, source: Source, saes: SparseAutoencoder, text: Text, positions: Array
    ) -> tuple[Any, Float[Array, "batch sequence component"]]:
        learned, _ = autoencode(saes, source.activations(text[positions]))
        state = top.update(state, learned_activations=learned, example_ids=positions)
        return state, learned[..., components, indices]

    state, of_features = top.init(), []
    for positions in batches:
        state, activations = step(state, source, saes, text, jnp.asarray(positions))
        of_features.append(np.reshape(activations, (-1, num_components)))
    largest = {name: value[components, indices] for name, value in top.compute(state).items()}
    return {
        name: Found(
            features[name],
            np.concatenate(of_features)[:, component],
            [
                (float(activation), in_context(text, int(position)))
                for activation, position in zip(
                    largest["activations"][component],
                    largest["example_ids"][component],
                    strict=True,
                )
                if position >= 0  # which it is not where a feature fired less often
            ],
        )
        for component, name in enumerate(features)
    }


def in_context(text: Text, position: int) -> str:
    """The text around a byte, which is marked."""
    parts = text[max(0, position - BEFORE) : position], text[position], text[position + 1 :][:AFTER]
    before, marked, after = (visible(np.asarray(part).tobytes()) for part in parts)
    return f"{before[-BEFORE:]:>{BEFORE}}«{marked}»{after[:AFTER]}"


def visible(part: bytes) -> str:
    """The text of some bytes on one line, with escapes for what has no sign of its own."""
    text = part.decode("ascii", "backslashreplace").replace("\n", "⏎")
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
