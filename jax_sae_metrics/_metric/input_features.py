"""The check of metrics with a value, or a moment, for each input feature."""

from .._activations import Activations


def check_num_input_features(metric: object, activations: Activations) -> None:
    """Raise unless the last axis is as long as the metric's `num_input_features`."""
    expected, given = getattr(metric, "num_input_features", None), activations.num_features
    if given != expected:
        raise ValueError(
            f"source_activations: {type(metric).__name__} expects {expected} input features, got "
            f"{given} in shape {activations.arrays[0].shape}. Set num_input_features={given}, or "
            f"pass activations of {expected} features."
        )
