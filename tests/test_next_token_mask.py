"""The mask of losses, which are one fewer than tokens."""

import jax
import numpy as np
import pytest

import jax_sae_metrics as jsm

MASK = np.array([[True, True, False, True], [False, True, True, False]])


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("source", [[True, True, False], [False, True, True]]),
        ("target", [[True, False, True], [True, True, False]]),
    ],
)
def test_next_token_mask(side, expected):
    np.testing.assert_array_equal(jsm.next_token_mask(MASK, side), expected)
    np.testing.assert_array_equal(jsm.next_token_mask(MASK[0], side), expected[0])
    traced = jax.jit(lambda mask: jsm.next_token_mask(mask, side))(MASK)
    np.testing.assert_array_equal(traced, expected)


def test_what_is_right_for_padding_is_the_default():
    np.testing.assert_array_equal(jsm.next_token_mask(MASK), jsm.next_token_mask(MASK, "target"))


def test_a_collection_takes_a_mask_for_tokens_and_one_for_losses():
    rng = np.random.default_rng(0)
    acts = rng.normal(size=(2, 4, 5)).astype(np.float32)
    losses = rng.random((2, 3)).astype(np.float32)
    metrics = jsm.MetricCollection({"l0": jsm.L0Norm(), "loss": jsm.LossIncrease()})
    value = metrics.compute(
        metrics.update(
            metrics.init(),
            learned_activations=acts,
            source_model_loss=losses,
            source_model_loss_with_reconstruction=losses + 1,
            mask=MASK,
            loss_mask=jsm.next_token_mask(MASK, "target"),
        )
    )
    np.testing.assert_allclose(value["loss"], 1, rtol=1e-6)


NEXT_TOKEN_MISTAKES = {
    "not boolean": (TypeError, np.ones((2, 3), np.int32), "source", ("mask", "int32", "(2, 3)")),
    "one token": (ValueError, np.ones((2, 1), bool), "source", ("mask", "two tokens", "(2, 1)")),
    "no axis": (ValueError, np.array(True), "source", ("mask", "[*batch, sequence]", "()")),
}


@pytest.mark.parametrize("name", NEXT_TOKEN_MISTAKES)
def test_wrong_next_token_masks(name):
    error, mask, side, says = NEXT_TOKEN_MISTAKES[name]
    with pytest.raises(error) as raised:
        jsm.next_token_mask(mask, side)
    assert all(part in str(raised.value) for part in says)
