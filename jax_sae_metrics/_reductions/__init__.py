from .functions import (
    Function as Function,
    Functions as Functions,
    apply as apply,
    at_least_float32 as at_least_float32,
    check_function as check_function,
)
from .plain import plain_sum as plain_sum
from .sum_functions import sum_functions as sum_functions
