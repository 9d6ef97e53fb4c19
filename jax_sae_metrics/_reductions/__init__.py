"""Many reductions of the same arrays, found in one read of them.

A `Reduction` says what is found: a function of each entry, reduced over items or over features.
`reduce_all` finds many of them at once, in the form that is fast on the platform. A form is a
function `(reductions, vectors, num_item_axes) -> results`, one result for each reduction, in order.
`tests/test_forms.py` runs every form against one oracle.

What a form is given: constants are arrays, since centres are found first. There are positions if a
`last_per_feature` is wanted. Explicitly sharded arrays go to the plain form alone. Every form is
traced on every platform, so it may use only operations that all platforms have.

What each form keeps:

- **Shapes.** The arrays are `[*item, *component, feature]`. A result is `[*component, feature]`;
  for `sum_per_vector` it is `[*item, *component]`.
- **Dtypes.** Numbers are float32 at least before a function sees them. Sums and maxima are float32.
  The sum of a boolean function is an exact int32 count, to 2^32 as unsigned. Positions are int32.
- **Masks.** What is masked out changes no result over items, not even where it is NaN. Sums over
  features are found for all vectors, masked or not.
- **NaN.** An unmasked NaN shows in every sum that its entry is part of, and in no other.
- **No items.** Sums are 0, maxima minus infinity, positions 0.
- **Varying.** Under `shard_map`, results vary over the axes that the arrays vary over, and no
  others. A running sum begins as a reduction over no items, not as a constant.
- **Cost.** The arrays are read once from memory, and nothing as large as they are is written.
"""

from .centre import (
    Deviation as Deviation,
    SquaredDeviation as SquaredDeviation,
    SquaredDistance as SquaredDistance,
)
from .function import Function as Function
from .plain import plain_sum as plain_sum
from .positions import item_positions as item_positions, num_unmasked as num_unmasked
from .reduce_all import reduce_all as reduce_all
from .reduction import (
    Reduction as Reduction,
    Vectors as Vectors,
    check_function as check_function,
)
from .values import values_of as values_of
