"""How close features are to each other, as a histogram."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from .._dictionary import max_cosine_similarity
from .._dictionary.nearest import nearest
from .._dictionary.rows import two_dictionaries
from .style import GRAY, draw_outlines, drawing_on, leave_room, write

_BINS_PER_UNIT = 50


def decoder_similarity_histogram(
    decoder: Any, other: Any = None, *, ax: Axes | None = None
) -> Axes:
    """Draw how many features have which cosine similarity with the one that is nearest to them.

    Near 1, features are duplicates; or, with another dictionary, they are found there too. Features
    without a direction, which are rows of zeros, are left out, and their number is written.

    **Arguments:**

    - `decoder`: floating point, `[feature, input_feature]`.
    - `other`: the dictionary to search for each feature, `[other_feature, input_feature]`; by
        default all other features of `decoder`.
    - `ax`: the axes to draw on; by default those of a new figure.

    **Returns:** the axes.

    **Raises:** `TypeError` for inputs that are not floating point; `ValueError` for other shapes
    than expected, and if no feature has another to compare with.

    !!! Example

        >>> import jax.numpy as jnp
        >>> from jax_sae_metrics import plot
        >>> ax = plot.decoder_similarity_histogram(jnp.array([[1.0, 0.0], [1.0, 1.0]]))
        >>> ax.get_ylabel()
        'number of features'
    """
    if other is None:
        found = max_cosine_similarity(decoder)
    else:
        found = jax.jit(nearest)(*two_dictionaries(decoder=decoder, other=other)).cosines
    cosines = np.asarray(found, np.float64)
    num_without, cosines = int(np.isnan(cosines).sum()), cosines[~np.isnan(cosines)]
    if not cosines.size:
        raise ValueError(
            "decoder: expected features with others to compare them with, got only NaN, rows of "
            "zeros, or a single row."
        )
    first = int(np.floor(_BINS_PER_UNIT * cosines.min())) - 1
    edges = np.arange(first, _BINS_PER_UNIT + 1) / _BINS_PER_UNIT
    with drawing_on(ax) as ax:
        draw_outlines(ax, edges, {"": np.histogram(cosines, edges)[0]})
        if num_without:
            leave_room(ax, 1.5)
            place = {"xycoords": "axes fraction", "va": "top"}
            write(ax, f"without direction: {num_without:,}", (0, 1), (3, -2), color=GRAY, **place)
        match = "nearest other feature" if other is None else "best match"
        ax.set_xlabel(f"cosine similarity with {match}")
        ax.set_ylabel("number of features")
    return ax
