"""Wrong input fails while tracing, with a message that says what to change."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from metric_case import draw_inputs
from metric_cases import DEFAULT_CASES
from misuse import (
    COMPONENTS,
    FEATURES,
    assert_says,
    collection,
    component_density,
    density,
    floats,
    learned,
    losses,
    reconstruction,
    score,
    trace,
)
from no_arrays import NO_ARRAYS, ones
from selection import all_of

single_density = jsm.FeatureDensity(FEATURES, 1)
l2 = jsm.L2ReconstructionLoss(COMPONENTS)
sae_loss = jsm.SparseAutoencoderLoss(0.1)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A call that must fail, and what its message must name."""

    name: str
    error: type[Exception]
    metric: jsm.AbstractMetric
    inputs: dict
    says: tuple[str, ...]


MISTAKES = [
    Mistake(
        "wrong feature count",
        ValueError,
        density,
        learned(4, 5),
        ("learned_activations", "8 learned features", "(4, 5)"),
    ),
    Mistake(
        "wrong feature count of components",
        ValueError,
        component_density,
        learned(4, 3, 5),
        ("learned_activations", "8 learned features", "(4, 3, 5)"),
    ),
    Mistake(
        "missing component axis",
        ValueError,
        component_density,
        learned(4, 8),
        ("learned_activations", "component=3", "(4, 8)", "missing axis"),
    ),
    Mistake(
        "missing component axis of a single component",
        ValueError,
        single_density,
        learned(4, 8),
        ("learned_activations", "component=1", "(4, 8)"),
    ),
    Mistake(
        "batch as large as the components taken for them",
        ValueError,
        component_density,
        learned(3, 8),
        ("learned_activations", "component=3", "(3, 8)", "at least one batch axis"),
    ),
    Mistake(
        "wrong component count",
        ValueError,
        component_density,
        learned(4, 2, 8),
        ("learned_activations", "component axis of size 3", "(4, 2, 8)"),
    ),
    Mistake(
        "component axis in the wrong place",
        ValueError,
        component_density,
        learned(3, 4, 8),
        ("learned_activations", "before the last axis", "(3, 4, 8)", "Move the component axis"),
    ),
    Mistake(
        "one vector without a batch axis",
        ValueError,
        density,
        learned(8),
        ("learned_activations", "[*batch, feature]", "(8,)"),
    ),
    Mistake(
        "no learned features",
        ValueError,
        jsm.L0Norm(),
        learned(4, 0),
        ("learned_activations: ", "at least one feature", "(4, 0)"),
    ),
    Mistake(
        "no input features",
        ValueError,
        jsm.L2ReconstructionLoss(),
        reconstruction((4, 0), (4, 0)),
        ("source_activations: ", "at least one feature", "(4, 0)"),
    ),
    Mistake(
        "no vocabulary",
        ValueError,
        jsm.TopOneAgreement(),
        {"source_logits": floats(4, 0), "logits_with_reconstruction": floats(4, 0)},
        ("source_logits: ", "at least one token", "(4, 0)"),
    ),
    Mistake(
        "integer activations",
        TypeError,
        density,
        learned(4, 8, dtype=jnp.int32),
        ("learned_activations", "floating-point", "int32", "astype"),
    ),
    Mistake(
        "boolean activations",
        TypeError,
        density,
        learned(4, 8, dtype=bool),
        ("learned_activations", "floating-point", "bool"),
    ),
    Mistake(
        "complex activations",
        TypeError,
        density,
        learned(4, 8, dtype=jnp.complex64),
        ("learned_activations", "floating-point", "complex64"),
    ),
    Mistake(
        "source and decoded of different widths",
        ValueError,
        l2,
        reconstruction((4, 3, 6), (4, 3, 1)),
        ("source_activations", "decoded_activations", "(4, 3, 6)", "(4, 3, 1)"),
    ),
    Mistake(
        "a misspelt input",
        TypeError,
        density,
        {"learned_activation": floats(4, 8)},
        ("learned_activations", "is learned_activation a misspelling of it?"),
    ),
    Mistake(
        "another input with a similar name",
        TypeError,
        jsm.ReconstructionScore(ablation="mean"),
        losses(4),
        (
            "source_model_loss_with_mean_ablation",
            "Pass source_model_loss_with_mean_ablation= as a keyword argument.",
        ),
    ),
    Mistake(
        "source and decoded of different batches",
        ValueError,
        l2,
        reconstruction((4, 3, 6), (1, 3, 6)),
        (
            "source_activations and decoded_activations: ",
            "same shape",
            "source_activations (4, 3, 6)",
            "decoded_activations (1, 3, 6)",
        ),
    ),
    Mistake(
        "decoded without the component axis",
        ValueError,
        l2,
        reconstruction((4, 3, 6), (4, 6)),
        ("decoded_activations", "component=3", "(4, 6)"),
    ),
    Mistake(
        "learned and source of different batches",
        ValueError,
        sae_loss,
        reconstruction((4, 6), (4, 6)) | learned(5, 8),
        ("learned_activations", "(5,)", "batch axes of source_activations, (4,)"),
    ),
    Mistake(
        "mask of the wrong length",
        ValueError,
        density,
        learned(4, 8) | {"mask": floats(5, dtype=bool)},
        ("mask", "(4,)", "(5,)"),
    ),
    Mistake(
        "mask where components were not asked for",
        ValueError,
        density,
        learned(4, 3, 8) | {"mask": floats(4, dtype=bool)},
        ("mask", "(4, 3)", "(4,)", "axis of size 3 is over components, set num_components"),
    ),
    Mistake(
        "mask with a feature axis",
        ValueError,
        density,
        learned(4, 8) | {"mask": floats(4, 8, dtype=bool)},
        ("mask", "(4,)", "(4, 8)"),
    ),
    Mistake(
        "mask with the wrong component axis",
        ValueError,
        component_density,
        learned(4, 3, 8) | {"mask": floats(4, 2, dtype=bool)},
        ("mask", "(4,)", "(4, 3)", "(4, 2)"),
    ),
    Mistake(
        "mask of floats",
        TypeError,
        density,
        learned(4, 8) | {"mask": floats(4)},
        ("mask", "bool", "float32"),
    ),
    Mistake(
        "mask of losses of the wrong shape",
        ValueError,
        score,
        losses(6, component_idx=0, mask=floats(7, dtype=bool)),
        ("mask", "(6,)", "(7,)"),
    ),
    Mistake(
        "loss_mask of integers",
        TypeError,
        score,
        losses(6, component_idx=0, loss_mask=floats(6, dtype=jnp.int32)),
        ("loss_mask", "bool", "int32"),
    ),
    Mistake(
        "component_idx too large",
        IndexError,
        score,
        losses(6, component_idx=3),
        ("component_idx", "num_components=3", "got 3"),
    ),
    Mistake(
        "component_idx negative",
        IndexError,
        score,
        losses(6, component_idx=-1),
        ("component_idx", "num_components=3", "got -1"),
    ),
    Mistake(
        "component_idx of NumPy out of range",
        IndexError,
        score,
        losses(6, component_idx=np.int64(7)),
        ("component_idx", "got 7"),
    ),
    *(
        Mistake(
            f"component_idx of {kind} out of range",
            IndexError,
            score,
            losses(6, component_idx=index),
            ("component_idx", "num_components=3", f"got {index}"),
        )
        for kind, index in {
            "a NumPy array": np.array(3),
            "a JAX array": jnp.int32(-1),
            "more bits than JAX has": np.int64(2**32),
        }.items()
    ),
    Mistake(
        "component_idx beside activations",
        ValueError,
        jsm.MetricCollection({"score": score, "l0": jsm.L0Norm(COMPONENTS)}),
        losses(6, component_idx=0) | learned(6, 3, 8),
        ("component_idx", "learned_activations", "count in every call", "apart"),
    ),
    Mistake(
        "component_idx that is a float",
        TypeError,
        score,
        losses(6, component_idx=1.0),
        ("component_idx", "integer scalar", "float64"),
    ),
    Mistake(
        "component_idx that is an array",
        TypeError,
        score,
        losses(6, component_idx=floats(3, dtype=jnp.int32)),
        ("component_idx", "integer scalar", "(3,)"),
    ),
    Mistake(
        "component_idx without components",
        ValueError,
        jsm.ReconstructionScore(),
        losses(6, component_idx=0),
        ("component_idx", "num_components=None"),
    ),
    Mistake(
        "component_idx for activations",
        TypeError,
        component_density,
        learned(4, 3, 8) | {"component_idx": 0},
        ("component_idx", "unknown input of FeatureDensity", "learned_activations"),
    ),
    Mistake(
        "losses of no component in particular",
        ValueError,
        score,
        losses(6),
        ("source_model_loss", "num_components=3", "component_idx", "(6,)"),
    ),
    Mistake(
        "losses of different shapes",
        ValueError,
        score,
        losses(6, component_idx=0) | {"source_model_loss": floats(5)},
        ("source_model_loss (5,)", "source_model_loss_with_reconstruction (6,)"),
    ),
    Mistake(
        "integer losses",
        TypeError,
        score,
        losses(6, component_idx=0) | {"source_model_loss": floats(6, dtype=jnp.int32)},
        ("source_model_loss", "floating-point", "int32"),
    ),
    Mistake(
        "unknown input of a metric",
        TypeError,
        density,
        learned(4, 8) | {"learnt_activations": floats(4, 8)},
        ("learnt_activations", "unknown input of FeatureDensity", "learned_activations"),
    ),
    Mistake(
        "missing input of a metric",
        TypeError,
        density,
        {"source_activations": floats(4, 8)},
        ("learned_activations", "FeatureDensity", "source_activations"),
    ),
    Mistake(
        "no input at all",
        TypeError,
        density,
        {},
        ("learned_activations", "FeatureDensity", "given nothing"),
    ),
    Mistake(
        "unknown input of a collection",
        TypeError,
        collection,
        learned(4, 8) | reconstruction((4, 6), (4, 6)) | {"targets": floats(4)},
        ("targets", "unknown input of MetricCollection", "learned_activations"),
    ),
    Mistake(
        "missing input of a collection",
        TypeError,
        collection,
        learned(4, 8) | {"source_activations": floats(4, 6)},
        ("decoded_activations", "L2ReconstructionLoss"),
    ),
    Mistake(
        "loss_mask where there are no losses",
        TypeError,
        density,
        learned(4, 8) | {"loss_mask": floats(4, dtype=bool)},
        ("loss_mask", "unknown input of FeatureDensity"),
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
@pytest.mark.parametrize("call", ["update", "forward", "observe"])
def test_wrong_input(mistake, call):
    state = () if call == "observe" else (mistake.metric.init(),)
    assert_says(
        mistake.error,
        lambda: trace(getattr(mistake.metric, call), *state, **mistake.inputs),
        mistake.says,
    )


def test_a_collection_says_which_metric_it_was():
    metrics = jsm.MetricCollection({"narrow": density, "wide": jsm.FeatureDensity(9)})
    nested = jsm.MetricCollection({"train": metrics})
    with pytest.raises(ValueError, match="expects 9 learned features") as raised:
        trace(nested.update, nested.init(), **learned(4, 8))
    notes = " ".join(raised.value.__notes__)
    assert "'wide'" in notes
    assert "'train'" in notes
    assert "'narrow'" not in notes


def test_a_traced_component_idx_out_of_range_adds_nothing():
    values = {name: jnp.ones(6) * (i + 1) for i, name in enumerate(losses(6))}
    state = score.update(score.init(), component_idx=1, **values)
    update = jax.jit(score.update)
    for index in (-1, 3, 100):
        after = update(state, component_idx=jnp.int32(index), **values)
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), state, after)))
    after = update(state, component_idx=jnp.int32(2), **values)
    np.testing.assert_array_equal(score.compute(after), [np.nan, 0.5, 0.5])


@pytest.mark.parametrize("name", NO_ARRAYS)
@pytest.mark.parametrize(
    "case", all_of(DEFAULT_CASES, by_default=DEFAULT_CASES[:1]), ids=lambda case: case.name
)
def test_what_is_no_array_is_named_with_what_to_pass_instead(case, name):
    wrong, says = NO_ARRAYS[name]
    metric = case.build(3)
    inputs = draw_inputs(case.inputs, case.batch_shape(4), 3)
    for given in (*case.inputs, "mask"):
        with pytest.raises(TypeError, match=f"^{given}: expected an array of ") as raised:
            metric.observe(**inputs | {given: wrong})
        assert says in str(raised.value)


@pytest.mark.parametrize("name", [name for name in NO_ARRAYS if "array of" not in name])
def test_a_component_idx_that_is_no_array_is_named(name):
    values = {loss: jnp.ones(6) * (i + 1) for i, loss in enumerate(losses(6))}
    with pytest.raises(TypeError, match=r"^component_idx: expected an integer scalar"):
        score.observe(component_idx=NO_ARRAYS[name][0], **values)


def test_arrays_of_other_libraries_that_know_numpy_are_taken():
    class Series:
        dtype = ones.dtype

        def __array__(self, *_, **__):
            return ones

    class Parameter:
        def __jax_array__(self):
            return jnp.asarray(ones)

    for given in (Series(), Parameter()):
        assert density.observe(learned_activations=given).num_fired[0] == 4


def test_top_k_activations_where_an_array_is_needed():
    metric = jsm.LatentClassification(FEATURES)
    with pytest.raises(TypeError, match="learned_activations: LatentClassification expects an arr"):
        metric.observe(
            learned_activations=jsm.TopKActivations(
                jnp.ones((4, 2)), jnp.zeros((4, 2), jnp.int32), 8
            ),
            true_activations=ones,
        )
