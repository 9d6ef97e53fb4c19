"""The sums behind the ready-made collections and single metrics, by hand in careful `jnp`.

Every array is read as few times as `jnp` allows, sums are float32 and without compensation, and the
sums of squares give the error bars. Counts are int32, which wrap.
"""

import jax.numpy as jnp
from jaxtyping import Array

State = dict[str, Array]


def density(state: State, *, learned_activations: Array) -> State:
    """How often each feature fired."""
    return _add(state, {"fired": jnp.sum(learned_activations > 0, 0, dtype=jnp.int32)})


def l0(state: State, *, learned_activations: Array) -> State:
    """The number of active features of a vector."""
    return _add(state, _sums("l0", jnp.sum(learned_activations != 0, -1, dtype=jnp.int32)))


def explained_variance(
    state: State, *, source_activations: Array, decoded_activations: Array
) -> State:
    """Sums for the pooled explained variance, and for its error bar."""
    return _add(state, _of_variance(source_activations, decoded_activations))


def training(
    state: State,
    *,
    learned_activations: Array,
    source_activations: Array,
    decoded_activations: Array,
) -> State:
    """What `training_metrics` keeps."""
    fires = learned_activations > 0
    num_items = len(fires)
    position = jnp.arange(1, num_items + 1, dtype=jnp.int32)[:, None]
    last = jnp.max(jnp.where(fires, position, 0), 0)
    errors = _of_variance(source_activations, decoded_activations)
    added = {
        "fired": jnp.sum(fires, 0, dtype=jnp.int32),
        **_sums("l0", jnp.sum(learned_activations != 0, -1, dtype=jnp.int32)),
        **_sums("l1", jnp.sum(jnp.abs(learned_activations), -1, dtype=jnp.float32)),
        **errors,
        "num_items": jnp.int32(num_items),
    }
    rest = {name: value for name, value in state.items() if name != "last_fired"}
    last = jnp.where(last > 0, state["num_items"] + last, state["last_fired"])
    return _add(rest, added) | {"last_fired": last}


def evaluation(
    state: State,
    *,
    learned_activations: Array,
    source_activations: Array,
    decoded_activations: Array,
) -> State:
    """What `evaluation_metrics` keeps."""
    added = {
        "fired": jnp.sum(learned_activations > 0, 0, dtype=jnp.int32),
        **_sums("l0", jnp.sum(learned_activations != 0, -1, dtype=jnp.int32)),
        **_sums("l1", jnp.sum(jnp.abs(learned_activations), -1, dtype=jnp.float32)),
        **_of_variance(source_activations, decoded_activations),
        **_of_vectors(source_activations, decoded_activations),
        "num_items": jnp.int32(len(learned_activations)),
    }
    return _add(state, added)


def zeros(function: object, num_learned: int, num_input: int) -> State:
    """The empty state of one of these."""
    per_learned = {"fired": jnp.zeros(num_learned, jnp.int32)}
    of_one = {name: jnp.zeros(2) for name in ("l0", "l1")}
    variance = {
        "source": jnp.zeros((2, num_input)),
        "error": jnp.zeros((2, num_input)),
        "both": jnp.zeros(5),
    }
    if function is density:
        return per_learned
    if function is l0:
        return {"l0": of_one["l0"]}
    if function is explained_variance:
        return variance
    if function is evaluation:
        of_vectors = {"means": jnp.zeros(12), "bias": jnp.zeros(5), "skipped": jnp.zeros(3, int)}
        return per_learned | of_one | variance | of_vectors | {"num_items": jnp.int32(0)}
    last_fired = {"last_fired": jnp.zeros(num_learned, jnp.int32)}
    return per_learned | of_one | variance | last_fired | {"num_items": jnp.int32(0)}


def _of_variance(source: Array, decoded: Array) -> State:
    source, decoded = (array.astype(jnp.float32) for array in (source, decoded))
    error = source - decoded
    errors, norms = (jnp.sum(jnp.square(array), -1) for array in (error, source))
    products = (errors, norms, jnp.square(errors), errors * norms, jnp.square(norms))
    return {
        "source": _sum_and_squares(source),
        "error": _sum_and_squares(error),
        "both": jnp.stack([jnp.sum(one) for one in products]),
    }


def _of_vectors(source: Array, decoded: Array) -> State:
    """Norms, their ratios and the bias; XLA shares what `_of_variance` finds too."""
    source, decoded = (array.astype(jnp.float32) for array in (source, decoded))
    errors, norms, decoded_norms = (
        jnp.sum(jnp.square(array), -1) for array in (source - decoded, source, decoded)
    )
    products = jnp.sum(source * decoded, -1)
    lengths, decoded_lengths = jnp.sqrt(norms), jnp.sqrt(decoded_norms)
    ratios = (
        (errors, norms),
        (products, lengths * decoded_lengths),
        (decoded_lengths, lengths),
    )
    of_each = [jnp.where(below == 0, 0, above / below) for above, below in ratios]
    of_each = jnp.stack([*of_each, lengths, decoded_lengths, jnp.sqrt(errors)])
    bias = (decoded_norms, products, decoded_norms**2, decoded_norms * products, products**2)
    return {
        "means": jnp.sum(jnp.concatenate([of_each, jnp.square(of_each)]), -1),
        "bias": jnp.sum(jnp.stack(bias), -1),
        "skipped": jnp.sum(jnp.stack([below == 0 for _, below in ratios]), -1, dtype=jnp.int32),
    }


def _sum_and_squares(array: Array) -> Array:
    return jnp.stack([jnp.sum(array, 0), jnp.sum(jnp.square(array), 0)])


def _sums(name: str, of_each: Array) -> State:
    of_each = of_each.astype(jnp.float32)
    return {name: jnp.stack([jnp.sum(of_each), jnp.sum(jnp.square(of_each))])}


def _add(state: State, added: State) -> State:
    return {name: state[name] + added[name] for name in state}
