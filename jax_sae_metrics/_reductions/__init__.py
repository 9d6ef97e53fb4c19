from .functions import (
    Function as Function,
    Functions as Functions,
    at_least_float32 as at_least_float32,
)
from .plain import plain_sum as plain_sum
from .sum_functions import sum_functions as sum_functions
