"""Four architectures of sparse autoencoders, and how each of them becomes sparse.

- ReLU, with an L1 penalty on its activations.
- TopK, the k largest activations of each byte (Gao et al., 2024, arXiv:2406.04093). Their auxiliary
  loss for dead features is left out.
- BatchTopK, the k n largest activations of a batch of n bytes. When it is evaluated, those above
  one threshold, the mean over batches of the smallest that was active (Bussmann et al., 2024,
  arXiv:2412.06410).
- JumpReLU, those above a threshold that each feature learns by pseudo-derivatives (Rajamanoharan et
  al., 2024, arXiv:2407.14435).

The number of active features is known in advance for TopK and BatchTopK alone. For a comparison at
matched sparsity, the L1 coefficient of ReLU is moved while training goes on, and JumpReLU has a
penalty on the distance of its L0 from the wanted one.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import jax_sae_metrics as jsm
from sparse_autoencoder import Learned, SparseAutoencoder

SPARSITIES = (8, 16, 32)  # wanted numbers of active features
KERNEL_WIDTH = 0.5  # in which a threshold of JumpReLU has a derivative
FIRST_THRESHOLD = 1.0  # of JumpReLU: a lower one comes to few active features too slowly
FIRST_COEFFICIENT = 1e-2  # of the L1 penalty
SPEED = 10.0  # of the logarithm of the coefficient, in steps of other parameters


class Autoencoder(eqx.Module):
    """An autoencoder of any architecture, or one per component: then with a component axis."""

    sae: SparseAutoencoder
    threshold: Float[Array, "*component learned_feature"]  # of JumpReLU
    log_coefficient: Float[Array, "*component"]  # of ReLU's penalty, divided by SPEED

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.sae = sae
        self.threshold = jnp.full_like(sae.encoder_bias, FIRST_THRESHOLD)
        self.log_coefficient = jnp.log(FIRST_COEFFICIENT) / SPEED


# What an architecture makes of pre-activations, given the wanted number of active features: learned
# activations, and a penalty.
Activate = Callable[[Autoencoder, Learned, Int[Array, ""]], tuple[Learned, Float[Array, ""]]]


def relu(one: Autoencoder, inputs: Learned, k: Int[Array, ""]) -> tuple[Learned, Float[Array, ""]]:
    """All positive ones; the penalty is L1.

    Its coefficient is a parameter, which the gradient of the second term moves, and it alone: up
    while more than k features are active, and else down.
    """
    learned = jax.nn.relu(inputs)
    l0 = jnp.mean(jnp.sum(learned > 0, axis=-1))
    coefficient = jax.lax.stop_gradient(jnp.exp(SPEED * one.log_coefficient))
    to_wanted = one.log_coefficient * jnp.log(k / jnp.maximum(l0, 0.1))
    return learned, coefficient * jnp.mean(jsm.l1_absolute_loss(learned)) + to_wanted


def top_k(one: Autoencoder, inputs: Learned, k: Int[Array, ""]) -> tuple[Learned, Float[Array, ""]]:
    """The k largest of each byte, if they are positive."""
    largest, _ = jax.lax.top_k(inputs, max(SPARSITIES))
    return above(inputs, jnp.take(largest, k - 1, axis=-1)[..., None]), jnp.zeros(())


def batch_top_k(
    one: Autoencoder, inputs: Learned, k: Int[Array, ""]
) -> tuple[Learned, Float[Array, ""]]:
    """The k times n largest of n bytes, if they are positive."""
    return above(inputs, batch_threshold(inputs, k)), jnp.zeros(())


def jump_relu(
    one: Autoencoder, inputs: Learned, k: Int[Array, ""]
) -> tuple[Learned, Float[Array, ""]]:
    """Those above the feature's threshold; the penalty is the distance of L0 from k."""
    threshold = one.threshold
    # The pseudo-derivative of a step by its threshold is that of a rectangle kernel. What is added
    # is zero, and has this derivative.
    is_near = jnp.abs(inputs - threshold) < KERNEL_WIDTH / 2
    derivative = -jnp.where(is_near, 1 / KERNEL_WIDTH, 0)
    active = (inputs > threshold) + derivative * (threshold - jax.lax.stop_gradient(threshold))
    l0 = jnp.mean(jnp.sum(active, axis=-1))
    return jax.nn.relu(inputs) * active, jnp.square(l0 / k - 1)


ARCHITECTURES: dict[str, Activate] = {
    "ReLU": relu,
    "TopK": top_k,
    "BatchTopK": batch_top_k,
    "JumpReLU": jump_relu,
}
# BatchTopK is evaluated as a JumpReLU with one threshold for all features.
EVALUATED = ARCHITECTURES | {"BatchTopK": jump_relu}


def above(inputs: Learned, threshold: Array) -> Learned:
    """What is at or above a threshold, and positive."""
    return jnp.where(inputs >= threshold, jax.nn.relu(inputs), 0)


def batch_threshold(inputs: Learned, k: Int[Array, ""]) -> Float[Array, ""]:
    """The threshold that k activations per byte are above, by bisection: faster than a sort."""
    positive = jax.lax.stop_gradient(jax.nn.relu(inputs))
    num_wanted = k * (inputs.size // inputs.shape[-1])

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        is_too_low = jnp.sum(positive >= middle) > num_wanted
        return jnp.where(is_too_low, middle, low), jnp.where(is_too_low, high, middle)

    return jax.lax.fori_loop(0, 20, halve, (jnp.zeros(()), jnp.max(positive)))[1]
