"""Learned features as classifiers of the true features that they match."""

import json
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm

GOLDEN = json.loads((pathlib.Path(__file__).parent / "data/saelens_synthetic.json").read_text())
decoder, true_features, learned_activations, true_activations = (
    jnp.asarray(GOLDEN[name], jnp.float32)
    for name in ("decoder", "true_features", "learned_activations", "true_activations")
)


def classify(metric, *batches, masks=None):
    state = metric.init()
    for (learned, true), mask in zip(batches, masks or [None] * len(batches), strict=True):
        state = metric.update(state, learned_activations=learned, true_activations=true, mask=mask)
    return metric.compute(state)


def of_golden():
    matched = jsm.best_matching_features(decoder, true_features)
    return learned_activations, true_activations[..., matched]


@pytest.mark.parametrize("sizes", [[400], [1, 150, 249]], ids=["whole", "batches"])
def test_saelens_classification(sizes):
    learned, true = of_golden()
    ends = np.cumsum(sizes)[:-1]
    batches = zip(np.split(learned, ends), np.split(true, ends), strict=True)
    value = classify(
        jsm.LatentClassification(20), *((jnp.asarray(f), jnp.asarray(t)) for f, t in batches)
    )
    for name in ("precision", "recall", "f1", "accuracy"):
        assert value[name] == pytest.approx(GOLDEN["expected"][name], rel=1e-5), name


def test_classification_of_batches_is_merged():
    learned, true = of_golden()
    metric = jsm.LatentClassification(20)
    states = [
        metric.update(metric.init(), learned_activations=learned[part], true_activations=true[part])
        for part in (slice(100), slice(100, 400))
    ]
    assert metric.compute(metric.merge(*states)) == classify(metric, (learned, true))


def test_classification_counts_on_beyond_float32_and_32_bits():
    """The state of 2^33 batches is made without 2^33 updates."""
    metric = jsm.LatentClassification(20)
    learned, true = of_golden()
    one = metric.update(metric.init(), learned_activations=learned, true_activations=true)
    many = one
    for _ in range(33):
        many = metric.merge(many, many)
    counts = one.num_true_positives.to_numpy()
    np.testing.assert_array_equal(many.num_true_positives.to_numpy(), counts << np.uint64(33))
    for name, value in metric.compute(many).items():
        np.testing.assert_allclose(value, metric.compute(one)[name], rtol=1e-6)


def test_what_a_learned_feature_says_and_when_it_is_right():
    """Any activation but 0 is a yes; only positive true activations are right."""
    learned = jnp.array([[1.0], [-1.0], [2.0], [0.0], [0.0], [3.0]])
    true = jnp.array([[1.0], [2.0], [-1.0], [1.0], [-1.0], [0.0]])
    value = classify(jsm.LatentClassification(1), (learned, true))
    want = {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "accuracy": 3 / 6}
    assert {name: float(got) for name, got in value.items()} == pytest.approx(want)


def test_undefined_precision_and_recall_count_as_zero():
    learned = jnp.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    true = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    value = classify(jsm.LatentClassification(3), (learned, true))
    want = {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3, "accuracy": (0.5 + 0.5 + 1) / 3}
    assert {name: float(got) for name, got in value.items()} == pytest.approx(want)


def test_classification_of_components_and_masks():
    learned, true = of_golden()
    kept = jnp.arange(400) % 3 > 0
    metric = jsm.LatentClassification(20, num_components=2)
    both = [jnp.stack([leaf, leaf[:, ::-1]], axis=1) for leaf in (learned, true)]
    mask = jnp.stack([kept, jnp.zeros_like(kept)], axis=1)
    poisoned = [jnp.where(mask[..., None], leaf, jnp.nan) for leaf in both]
    value = classify(metric, poisoned, masks=[mask])
    want = classify(jsm.LatentClassification(20), (learned[kept], true[kept]))
    for name in value:
        np.testing.assert_allclose(value[name], [want[name], np.nan], rtol=1e-6)


def test_classification_of_nothing():
    assert all(np.isnan(value) for value in classify(jsm.LatentClassification(3)).values())


def test_a_latent_without_a_match_is_never_right():
    zero_rows = decoder.at[5].set(0)
    matched = jnp.take(
        true_activations, jsm.best_matching_features(zero_rows, true_features), axis=-1
    )
    assert jnp.isnan(matched[:, 5]).all()
    state = jsm.LatentClassification(20).observe(
        learned_activations=learned_activations, true_activations=matched
    )
    assert state.num_true_positives[5] == state.num_false_negatives[5] == 0
    assert state.num_false_positives[5] == (learned_activations[:, 5] != 0).sum()


@pytest.mark.parametrize(
    ("learned", "true", "error", "says"),
    [
        (jnp.ones((4, 3)), jnp.ones((4, 2)), ValueError, "true_activations (4, 2)"),
        (jnp.ones((4, 2)), jnp.ones((4, 2)), ValueError, "Set num_learned_features=2"),
        (jnp.ones((4, 3)), None, TypeError, "true_activations: LatentClassification needs"),
        (jnp.ones((4, 3)), jnp.ones((4, 3), bool), TypeError, "got bool"),
        (
            jsm.TopKActivations(jnp.ones((4, 1)), jnp.ones((4, 1), jnp.int32), 3),
            jnp.ones((4, 3)),
            TypeError,
            "learned_activations: LatentClassification expects an array here, with an entry",
        ),
    ],
    ids=["not aligned", "another number", "no truth", "boolean truth", "TopK"],
)
def test_wrong_inputs_of_classification(learned, true, error, says):
    with pytest.raises(error, match=re.escape(says)):
        classify(jsm.LatentClassification(3), (learned, true))
