"""From a mask over tokens to a mask over losses."""

from typing import Literal

from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from .._arrays import as_boolean
from .._configuration import check_choice

_SIDES = ("source", "target")


def next_token_mask(
    mask: ArrayLike, side: Literal["source", "target"] = "target"
) -> Bool[Array, "*batch sequence_minus_1"]:
    """The mask over next-token losses that follows from a mask over tokens.

    The loss at a position is for the prediction of the next token. The last token has activations,
    but no loss: there is one loss fewer than there are tokens. Which losses count is then a choice,
    and existing tools choose differently. The masks differ wherever a masked token has an unmasked
    neighbour, and so do the mean losses.

    In a collection, pass the result as `loss_mask`, and the mask over tokens as `mask`.

    **Arguments:**

    - `mask`: boolean, `[*batch, sequence]`, with at least two tokens; True keeps a token.
    - `side`: `"target"` keeps a loss if the token that is predicted is kept, `mask[..., 1:]`. It is
        right for padding at the end of texts. `"source"` keeps a loss if the token that it is
        predicted from is kept, `mask[..., :-1]`: for a masked begin-of-text token, from which
        nothing should be predicted. With padding, the prediction *of* its first token then counts.

    **Returns:** boolean, `[*batch, sequence - 1]`.

    **Raises:** `TypeError` for a mask that is not boolean, `ValueError` for fewer than two tokens
    or an unknown side.

    !!! Example

        >>> import jax.numpy as jnp
        >>> import jax_sae_metrics as jsm
        >>> mask = jnp.array([True, True, True, False])  # the last token is padding
        >>> print(jsm.next_token_mask(mask))
        [ True  True False]
        >>> print(jsm.next_token_mask(mask, "source"))
        [ True  True  True]

    ??? note "Differences from other tools"

        `"source"` is what SAELens 6.54 does with the tokens that it is told to ignore, so that the
        prediction of the first padding token counts. `"target"` is what dictionary_learning does:
        it ignores the losses whose target is padding.
    """
    check_choice("side", side, _SIDES)
    tokens = as_boolean("mask", mask, "keeps a token")
    if tokens.ndim < 1 or tokens.shape[-1] < 2:
        raise ValueError(
            "mask: expected shape [*batch, sequence] with at least two tokens, got shape "
            f"{tokens.shape}. A single token has no next-token loss."
        )
    return tokens[..., :-1] if side == "source" else tokens[..., 1:]
