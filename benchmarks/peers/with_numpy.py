"""The numbers of the training collection in NumPy, on the host."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array

from ..measure import Contender


def contender(batch: Mapping[str, Array], against: str) -> Contender:
    """Keep counts and sums in 64 bits, which cost nothing here."""
    learned, source, decoded = (
        np.asarray(batch[f"{name}_activations"]) for name in ("learned", "source", "decoded")
    )
    fired = np.zeros(learned.shape[1:], np.int64)
    sums = {name: np.zeros(learned.shape[1:-1]) for name in ("l0", "l1", "l2")}

    def update() -> None:
        nonlocal fired
        fired += np.count_nonzero(learned > 0, axis=0)
        sums["l0"] += np.count_nonzero(learned, axis=-1).sum(0)
        sums["l1"] += np.abs(learned).sum(-1).sum(0)
        sums["l2"] += np.square(decoded - source).mean(-1).sum(0)

    return Contender("NumPy", run=update, wait=lambda: None, against=against)
