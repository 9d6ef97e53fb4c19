"""How many learned features have not fired for a long time."""

from jaxtyping import Array, Int

from ..base import AbstractFiringAges, FiringAges


class DeadFeatures(AbstractFiringAges):
    r"""Number of learned features that have not fired for a number of tokens.

    $$\sum_i \mathbb{1}[N - \ell_i \ge \tau] \qquad
    \ell_i = \max\, (\{0\} \cup \{n : f_{ni} > t\})$$

    after $N$ tokens, which are the unmasked vectors of all batches in order. $\ell_i$ is the last
    token at which feature $i$ fired: its activation was above the threshold $t$. A feature that
    never fired is as old as the whole run. The position within a batch counts, so that the result
    does not depend on how the data is cut into batches. `all_reduce` assumes that the devices went
    through their tokens side by side.

    With `axis_name`, and under `jit` with sharded arrays, the tokens of all devices count, in the
    order of the whole batch.

    **Input** of `observe`, `update` and `forward`: `learned_activations`, floating point,
    `[*batch, component?, learned_feature]`, `TopKActivations` or `SparseActivations`.

    **Result:** integer `[component?]`, or `[component?, after_tokens]` for several numbers of
    tokens; int64 under x64 and else int32; 0 where nothing was seen. `is_dead` says which features
    are meant, `tokens_since_fired` how old each of them is.

    **Arguments:**

    - `num_learned_features`: size of the last axis.
    - `num_components`: size of the component axis; `None` if there is none.
    - `after_tokens`: $\tau$, one number of tokens up to $2^{30}$, or several. A feature is dead if
        it has not fired for at least this number.
    - `threshold`: a feature fires where its activation is greater than this.
    - `absolute`: whether its absolute value is compared.

    **Raises:** `ValueError` for sizes or numbers of tokens that are not positive integers, numbers
    of tokens greater than $2^{30}$, or a negative threshold.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> metric = jsm.DeadFeatures(num_learned_features=3, after_tokens=(1, 2))
        >>> learned_activations = jnp.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        >>> state = metric.update(metric.init(), learned_activations=learned_activations)
        >>> print(metric.compute(state), metric.tokens_since_fired(state))
        [2 1] [0 2 1]
        >>> print(metric.is_dead(state, after_tokens=2))
        [False  True False]

    ??? note "Differences from other tools"

        `NeuronActivity` counts features that fired too rarely since the state was initialised.
        dictionary_learning and sparsify restart at 0 at the end of a batch in which a feature
        fired, at whatever position. Other trainers, among them saex, fae and activation-extract,
        count steps. On several devices, sparsify counts the tokens of one device ([issue
        119](https://github.com/EleutherAI/sparsify/issues/119)). With its `multi_topk`, the 4k
        largest activations of a vector count as fired, where the reconstruction is from k.

    ??? cite "Reference"

        L. Gao et al., [Scaling and evaluating sparse
        autoencoders](https://arxiv.org/abs/2406.04093), 2024. There, a feature is dead if it has
        not fired for 10 million tokens, the default here. (Their code counts steps of a batch, and
        activations above 1e-3.)
    """

    def _compute(self, state: FiringAges) -> Int[Array, "*component_and_after_tokens"]:
        return self._num_dead(state)
