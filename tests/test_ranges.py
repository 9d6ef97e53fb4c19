"""Activations of any scale: what is reported is right, infinite or NaN, but no other number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_sae_metrics as jsm
from metric_case import INTEGERS, UNBATCHED, by_name, draw_inputs, expected
from metric_cases import LEAF_CASES
from subjects import own

SHAPE = (150, 2)
SMALLEST_NORMAL = 2.0**-126
SCALES = tuple(range(-30, 31))  # powers of ten

# The lowest and the highest scale at which a number is right, as `docs/definitions.md` has it.
ANY, SQUARED = (-30, 30), (-16, 16)
# A square that is too small for float32 is rightly 0.
ARE_SQUARES = (-30, 16)
RANGES_OF_VALUES = {
    "ActivationStatistics": ARE_SQUARES,
    "ActivationStatistics absolute": ARE_SQUARES,
    "ActivationStatistics threshold": ARE_SQUARES,
    "Capacity": SQUARED,
    "CosineSimilarity": SQUARED,
    "ExplainedVariance": SQUARED,
    "ExplainedVariance per_dimension_mean": SQUARED,
    "ExplainedVariance residual_variance": SQUARED,
    "ExplainedVariance scalar_mean": SQUARED,
    "ExplainedVariance squared_correlation": SQUARED,
    "ExplainedVariance total_variance": SQUARED,
    "ExplainedVariance uncentered": SQUARED,
    "FractionVarianceUnexplained": SQUARED,
    "HoyerSparsity": SQUARED,
    "KLDivergenceScore": (-1, 30),
    "KLDivergenceScore mean ablation": (-1, 30),
    "L2Norm": SQUARED,
    "L2NormRatio": SQUARED,
    "L2ReconstructionLoss": ARE_SQUARES,
    "L2ReconstructionLoss sum": ARE_SQUARES,
    "LegacyExplainedVariance": SQUARED,
    "NormalizedL1": SQUARED,
    "NormalizedMSE": SQUARED,
    "OutlierSeverity": SQUARED,
    "RelativeReconstructionBias": SQUARED,
    "SparseAutoencoderLoss": ARE_SQUARES,
}
# Error bars square once more.
OF_NUMBERS, OF_SQUARES = (-12, 16), (-5, 7)
# With the power of the scale that an error bar is proportional to.
RANGES_OF_ERRORS = {
    "ActivationStatistics": (1, OF_NUMBERS),
    "CosineSimilarity": (0, SQUARED),
    "ExplainedVariance": (0, OF_SQUARES),
    "ExplainedVariance per_dimension_mean": (0, OF_SQUARES),
    "ExplainedVariance residual_variance": (0, OF_SQUARES),
    "ExplainedVariance scalar_mean": (0, OF_SQUARES),
    "ExplainedVariance uncentered": (0, OF_SQUARES),
    "FeatureDensity": (0, ANY),
    "FractionVarianceUnexplained": (0, OF_SQUARES),
    "HoyerSparsity": (0, SQUARED),
    "L0Norm": (0, ANY),
    "L1AbsoluteLoss": (1, OF_NUMBERS),
    "L1AbsoluteLoss decoder_weighted": (1, OF_NUMBERS),
    "L2Norm": (1, OF_NUMBERS),
    "L2NormRatio": (0, SQUARED),
    "L2ReconstructionLoss": (2, OF_SQUARES),
    "L2ReconstructionLoss sum": (2, OF_SQUARES),
    "LegacyExplainedVariance": (0, SQUARED),
    "LossIncrease": (1, OF_NUMBERS),
    "MeanOf": (1, OF_NUMBERS),
    "ModelLoss": (1, OF_NUMBERS),
    "ModelLoss mean ablation": (1, OF_NUMBERS),
    "NormalizedL1": (0, SQUARED),
    "NormalizedMSE": (0, SQUARED),
    "ReconstructionScore": (0, OF_NUMBERS),
    "RelativeReconstructionBias": (0, OF_SQUARES),
    "TopOneAgreement": (0, ANY),
}
ERRORS = [case for case in LEAF_CASES if case.name in RANGES_OF_ERRORS]


def factor(scale):
    """A power of 2 near the power of 10: the numbers differ in nothing but their exponents."""
    return 2.0 ** round(scale * np.log2(10))


def at_scales(cases):
    """The inputs of all cases, with a leading axis over scales."""
    inputs = draw_inputs({name for case in cases for name in case.inputs}, SHAPE, None)
    factors = np.array([factor(scale) for scale in SCALES])
    for name, values in inputs.items():
        times = np.ones_like(factors) if name in UNBATCHED | INTEGERS else factors
        times = times.reshape(-1, *(1,) * values.ndim)
        inputs[name] = (times * values.astype(float)).astype(values.dtype)
        assert np.isfinite(inputs[name]).all()
    return inputs


def of_collection(cases, read, inputs):
    """Values or error bars of all cases at once, each with a leading axis over scales."""
    metrics = jsm.MetricCollection({case.name: case.build(None) for case in cases})

    def run(inputs):
        return read(metrics, metrics.update(metrics.init(), **inputs))

    found = jax.jit(jax.vmap(run))(jax.tree.map(jnp.asarray, inputs))
    return {case.name: own(found, case.name) for case in cases}


def assert_right(got, want, rtol, in_range, about):
    """Within the range, a number is right; beyond it, it is right or not finite."""
    got, want = np.asarray(got, float), np.asarray(want, float)
    is_right = np.isclose(got, want, rtol=rtol, atol=SMALLEST_NORMAL)
    # What float32 cannot hold is not finite.
    must_show = in_range & (np.abs(want) <= np.finfo(np.float32).max)
    wrong = ~is_right & (must_show | np.isfinite(got))
    assert not any(wrong.ravel()), f"{about}: got {got[wrong][:3]}, right is {want[wrong][:3]}"


@pytest.mark.exhaustive
def test_values():
    inputs = at_scales(LEAF_CASES)
    found = of_collection(LEAF_CASES, lambda metrics, state: metrics.compute(state), inputs)
    for case in LEAF_CASES:
        lowest, highest = RANGES_OF_VALUES.get(case.name, ANY)
        for index, scale in enumerate(SCALES):
            if scale < lowest:
                continue
            batch = {name: inputs[name][index] for name in case.inputs}
            with np.errstate(over="ignore"):  # a perplexity
                wanted = expected(case, [batch], None)
            for name, want in wanted.items():
                got, about = found[case.name][name][index], f"{case.name} {name} at 1e{scale}"
                assert_right(got, want, max(1e-5, case.rtol), scale <= highest, about)


@pytest.mark.exhaustive
def test_error_bars():
    """Error bars are tested elsewhere at scale 1. Others are that, times a power of the scale."""
    read = lambda metrics, state: metrics.standard_error(state)  # noqa: E731
    found = of_collection(ERRORS, read, at_scales(ERRORS))
    for case in ERRORS:
        power, (lowest, highest) = RANGES_OF_ERRORS[case.name]
        lowest_of_value, _ = RANGES_OF_VALUES.get(case.name, ANY)
        for name, errors in by_name(found[case.name]).items():
            of_one = np.asarray(errors, float)[SCALES.index(0)]
            for got, scale in zip(errors, SCALES, strict=True):
                if scale < lowest_of_value:
                    continue
                want, in_range = of_one * factor(scale) ** power, lowest <= scale <= highest
                assert_right(got, want, 1e-5, in_range, f"{case.name} {name} at 1e{scale}")
