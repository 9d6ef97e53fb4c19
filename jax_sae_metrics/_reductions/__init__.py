from .centre import near_mean as near_mean
from .functions import (
    Function as Function,
    Kinds as Kinds,
    Term as Term,
    apply as apply,
    at_least_float32 as at_least_float32,
    check_function as check_function,
    flatten_items as flatten_items,
)
from .plain import plain_sum as plain_sum
from .positions import item_positions as item_positions
from .reduce_functions import reduce_functions as reduce_functions
