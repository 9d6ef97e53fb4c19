"""Learned activations in both of their forms, metrics run over them, and states of many batches."""

import jax
import jax.numpy as jnp
import numpy as np

import jax_sae_metrics as jsm


def run(metric, *batches, **others):
    state = metric.init()
    update = jax.jit(metric.update)
    for batch in batches:
        state = update(state, learned_activations=batch, **others)
    return metric.compute(state)


def count_of(values):
    values = np.asarray(values, np.uint64)
    return jsm.Count(
        high=jnp.asarray(values >> np.uint64(32), jnp.uint32),
        low=jnp.asarray(values & np.uint64(2**32 - 1), jnp.uint32),
    )


def with_leaves(metric, leaves):
    """A state of the metric with these accumulators."""
    is_leaf = lambda node: isinstance(node, jsm.AbstractAccumulator)  # noqa: E731
    treedef = jax.tree.structure(metric.init(), is_leaf=is_leaf)
    return jax.tree.unflatten(treedef, leaves)


def dense_form(activations):
    return activations


def top_k_form(activations):
    values, indices = jax.lax.top_k(activations, activations.shape[-1])
    return jsm.TopKActivations(values, indices, activations.shape[-1])


def flat_form(activations):
    return flattened(top_k_form(activations))


def flattened(top_k):
    """The same entries in one list, last first."""
    *batch, k = top_k.values.shape
    vectors = np.repeat(np.arange(np.prod(batch, dtype=int), dtype=np.int32), k)
    values, features = (x.reshape(-1)[::-1] for x in (top_k.values, top_k.indices))
    shape = (*batch, top_k.num_learned_features)
    return jsm.SparseActivations(values, jnp.asarray(vectors[::-1]), features, shape)


class FlatInside:
    """A metric that is given `TopKActivations` and flattens what each device has of them."""

    def __init__(self, metric):
        self.metric = metric

    def __getattr__(self, name):
        return getattr(self.metric, name)

    def __repr__(self):
        return repr(self.metric)

    def observe(self, *, learned_activations, **inputs):
        return self.metric.observe(learned_activations=flattened(learned_activations), **inputs)

    def update(self, state, *, learned_activations, **inputs):
        learned_activations = flattened(learned_activations)
        return self.metric.update(state, learned_activations=learned_activations, **inputs)
