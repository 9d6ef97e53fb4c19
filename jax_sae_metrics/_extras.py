"""Libraries that only some results need."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Say which extra has a library that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error.name} is not installed. Install it with: pip install "jax_sae_metrics'
            f'[{extra}]".',
            name=error.name,
        ) from error
