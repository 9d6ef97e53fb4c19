"""A model and its autoencoders, measured on batches of tokens."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from .._configuration import check_size
from .about import Seen, about_this_run
from .codes import num_learned_features
from .component import Component, HookPoint, check_autoencoders, components_of
from .passes import Model, coded, recorded
from .places import MEAN
from .result import Evaluation
from .step import Measurement


def evaluate(
    model: Any,
    autoencoders: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    mean_ablation: bool = False,
    together: bool = False,
    clusters: Literal["items", "prompts"] = "prompts",
    max_batches: int | None = None,
    target_standard_error: float | None = None,
    mesh: Mesh | None = None,
    state: Any = None,
    progress: bool = True,
) -> Evaluation:
    r"""Measure sparse autoencoders in a language model: what they keep, and what they cost.

    For each batch, one jitted step runs the model unchanged, and for each component with its
    activations replaced by their reconstruction and by zeros. It updates `evaluation_metrics` with
    losses and logits. The logits of one component are gone before those of the next are computed.

    The loss of a prediction counts where both the token that it is made from and the token that is
    predicted are unmasked. Masked tokens leave no trace in any metric, but the model sees them.

    **Arguments:**

    - `model`: a function `model(tokens, intervene) -> logits`, `[batch, sequence, vocabulary]`. It
        calls `intervene(activations, hook_point)` at each hook point, with activations
        `[batch, sequence, input_feature]` and the number 0, 1, ... or the name of the hook point,
        and goes on with what that returns. Arrays of an Equinox or Flax nnx module, or of a
        `jax.tree_util.Partial`, are arguments of the step; those that a plain function closes over
        become constants of it. All are JAX arrays.
    - `autoencoders`: a function for each component, by name: one for each hook point in order, or
        by the names of hook points. It takes activations and returns `(codes, decoded)`; codes are
        dense, `TopKActivations` or `SparseActivations`. A `Component` says where it is instead:
        several may stand at one hook point, and a transcoder reads one and writes another.
    - `batches`: integer tokens `[batch, sequence]`, or pairs of them and a boolean mask of the same
        shape, False for padding and for tokens that should not count. A batch with fewer texts than
        one before is filled up with masked ones, so that nothing is compiled twice.
    - `mean_ablation`: whether `ce_loss_score_mean` is added, with the mean of the batch in place of
        zeros.
    - `together`: whether `together/...` is added, with all components replaced at once.
    - `clusters`: what is independent for the error bars: `"prompts"`, the texts, or `"items"`.
    - `max_batches`: after how many batches to stop.
    - `target_standard_error`: stop when the score `ce_loss_score` of every component is known to
        this standard error.
    - `mesh`: split batches over the first axis of this mesh, as one with automatic axes.
    - `state`: the result of an evaluation to go on with, whose components are compared with these,
        or the `state` of one.
    - `progress`: whether to show a bar with the score so far, if tqdm is installed.

    **Returns:** an `Evaluation`, with `values` and `errors` by names such as
    `ce_loss_score/block_0`.

    **Raises:** `TypeError` for tokens that are no integers or a mask that is not boolean;
    `ValueError` for no autoencoders, a wrong name, no batches, a model that does not call
    `intervene` once for each hook point, plain functions that are not those of its hook points,
    autoencoders of different sizes, two of them that write one hook point `together`, or an earlier
    result of other components.

    !!! Example

        >>> import jax, jax.numpy as jnp
        >>> from jax_sae_metrics.evaluation import evaluate
        >>> weights = jax.random.normal(jax.random.key(0), (5, 8))  # of each token
        >>> def model(tokens, intervene):
        ...     return intervene(weights[tokens], 0) @ weights.T
        >>> def autoencode(activations):
        ...     learned = jax.nn.relu(jnp.concatenate([activations, -activations], -1))
        ...     return learned, activations * 0.9
        >>> tokens = jax.random.randint(jax.random.key(1), (4, 16), 0, 5)
        >>> result = evaluate(model, {"embedding": autoencode}, [tokens], progress=False)
        >>> print(f"{result.values['l0/embedding']:.0f}")
        8
    """
    check_autoencoders(autoencoders)
    if max_batches is not None:
        check_size("max_batches", max_batches)
    before = state if isinstance(state, Evaluation) else None
    if before is not None:
        _check_same_components(before, tuple(autoencoders))
        if _is_known(before.metric, before.state, target_standard_error):
            return before
    step = eqx.filter_jit(Measurement.update)
    measurement: Measurement | None = None
    bar = _bar(batches, max_batches, progress)
    num_texts, seen = 0, Seen(state)
    for batch in itertools.islice(bar, max_batches):
        tokens, mask = _checked(batch)
        num_texts = max(num_texts, _rounded_up(len(tokens), mesh))
        seen.add(mask)
        placed = _placed(*_filled(tokens, mask, num_texts), mesh)
        if measurement is None:
            activations = _activations(model, placed[0])
            components = components_of(autoencoders, list(activations))
            if together:
                _check_one_each(components)
            sizes = _sizes(components, activations)
            names = tuple(components)
            measurement = Measurement.of(names, *sizes, clusters, mean_ablation, together)
            earlier = state if before is None else before.state
            empty = measurement.metric.init()
            state = empty if earlier is None else measurement.metric.merge(empty, earlier)
        state = step(measurement, state, model, components, *placed)
        if _shows(bar):
            score, error = _score(measurement.metric, state)
            bar.set_postfix_str(f"score {score:.4f} ± {error:.4f}")
        if _is_known(measurement.metric, state, target_standard_error):
            break
    if measurement is None:
        if before is not None:
            return before
        raise ValueError("batches: expected at least one batch of tokens, got none.")
    about = {"errors are over": "texts" if clusters == "prompts" else "tokens"}
    return Evaluation(measurement.metric, state, about | seen.about() | about_this_run())


def _check_same_components(before: Evaluation, names: tuple[str, ...]) -> None:
    if before.names != names:
        raise ValueError(
            f"state: it is of the components {before.names}, and the autoencoders are {names}."
        )


def _score(metric: Any, state: Any) -> tuple[float, float]:
    """The mean score of the components, and the largest of their standard errors."""
    of_score, state = metric["ce_loss_score"], state["ce_loss_score"]
    errors = of_score.standard_error(state)
    return float(of_score.compute(state)[MEAN]), max(
        float(error) for name, error in errors.items() if name != MEAN
    )


def _is_known(metric: Any, state: Any, target_standard_error: float | None) -> bool:
    """Whether the score of every component is known to the error that is wanted."""
    return target_standard_error is not None and _score(metric, state)[1] <= target_standard_error


def _checked(batch: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and mask as arrays on the host."""
    pair = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    tokens, mask = (None if each is None else np.asarray(each) for each in pair)
    if tokens is None or not np.issubdtype(tokens.dtype, np.integer) or tokens.ndim != 2:
        kind = "nothing" if tokens is None else f"{tokens.dtype}{list(tokens.shape)}"
        raise TypeError(f"batches: expected integer tokens [batch, sequence], got {kind}.")
    if mask is None:
        return tokens, np.ones(tokens.shape, bool)
    if mask.dtype != bool or mask.shape != tokens.shape:
        raise TypeError(
            f"batches: expected a boolean mask of shape {tokens.shape}, False for padding, got "
            f"{mask.dtype}{list(mask.shape)}."
        )
    return tokens, mask


def _filled(tokens: np.ndarray, mask: np.ndarray, num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Both with masked texts after the last, up to so many."""
    missing = ((0, num_texts - len(tokens)), (0, 0))
    return np.pad(tokens, missing), np.pad(mask, missing)


def _rounded_up(num_texts: int, mesh: Mesh | None) -> int:
    """The number of texts that all devices can share."""
    num_parts = 1 if mesh is None else mesh.shape[mesh.axis_names[0]]
    return -(-num_texts // num_parts) * num_parts


def _placed(tokens: np.ndarray, mask: np.ndarray, mesh: Mesh | None) -> tuple[Array, Array]:
    if mesh is None:
        return jnp.asarray(tokens), jnp.asarray(mask)
    # The model need not say how its arrays are sharded, as it would have to with explicit axes.
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
    return jax.device_put(tokens, sharding), jax.device_put(mask, sharding)


def _check_one_each(components: Mapping[str, Component]) -> None:
    """Raise if two components would have to be in one place at once."""
    places = [component.writes for component in components.values()]
    for name, place in zip(components, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(
                f"together: {name!r} and another component both write hook point {place!r}. Leave "
                "`together` out, or evaluate them in two calls."
            )


def _activations(model: Model, tokens: Array) -> dict[HookPoint, Any]:
    """The shapes of the activations at each hook point of the model, in its order."""
    with _naming_numpy_weights():
        _, activations = eqx.filter_eval_shape(recorded, model, tokens)
    return activations


@contextlib.contextmanager
def _naming_numpy_weights() -> Iterator[None]:
    try:
        yield
    except jax.errors.TracerArrayConversionError as error:
        error.add_note(
            "Where weights of the model or of an autoencoder are NumPy arrays, make them JAX "
            "arrays: jax.tree.map(jnp.asarray, weights)."
        )
        raise


def _sizes(
    components: Mapping[str, Component], activations: Mapping[HookPoint, Any]
) -> tuple[int, int]:
    """The numbers of learned and of input features, which all autoencoders share."""
    with _naming_numpy_weights():
        found = [eqx.filter_eval_shape(coded, *one, activations) for one in components.items()]
    sizes = {(num_learned_features(codes), decoded.shape[-1]) for codes, decoded in found}
    if len(sizes) > 1:
        raise ValueError(
            f"autoencoders: expected one size for all, got {sorted(sizes)} (learned features, "
            "input features). Evaluate those of each size by themselves."
        )
    return sizes.pop()


def _bar(batches: Iterable[Any], max_batches: int | None, progress: bool) -> Any:
    """The batches, with a bar if it is wanted and tqdm is installed."""
    if progress:
        with contextlib.suppress(ImportError):
            from tqdm.auto import tqdm  # type: ignore[import-untyped]

            return tqdm(batches, total=max_batches, desc="Evaluation", unit="batch")
    return iter(batches)


def _shows(bar: Any) -> bool:
    return hasattr(bar, "set_postfix_str")
