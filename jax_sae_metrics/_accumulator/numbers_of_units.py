"""The numbers behind means and ratios of one batch, all summed together."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32, PyTree

from .._arrays import map_nodes, nodes_of, sharded_whole
from .ratio_of_sums import RatioOfSumsRecord, least_squares_slope


class NumbersOfUnits(eqx.Module):
    """A numerator and a denominator for each unit of a batch, 0 where it is masked out.

    It stands for the `RatioOfSumsRecord` that becomes of it. It stays inside the library.
    """

    numerators: Float32[Array, "*unit_and_component"]
    denominators: Float32[Array, "*unit_and_component"]
    num_units: Int32[Array, "*component"]


def summed(added: PyTree) -> PyTree:
    """What is added, with a record in place of the numbers of units.

    The numbers of all metrics are summed side by side. Residuals are known only after the sums, so
    that devices exchange twice: were each metric summed by itself, they would exchange once or
    twice for each.
    """
    alike = collections.defaultdict(list)
    for numbers in nodes_of(NumbersOfUnits, added):
        types = (numbers.numerators, numbers.denominators, numbers.num_units)
        alike[tuple(map(jax.typeof, types))].append(numbers)
    records = {}
    for group in alike.values():
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *group)
        of_group = _records(stacked, group[0].num_units.ndim)
        for index, numbers in enumerate(group):
            records[id(numbers)] = tuple(field[index] for field in of_group)
    return map_nodes(
        NumbersOfUnits, lambda numbers: RatioOfSumsRecord(*records[id(numbers)]), added
    )


def _records(stacked: NumbersOfUnits, num_component_axes: int) -> tuple[Array, ...]:
    """The fields of each record, with a leading axis over records."""
    a, b = stacked.numerators, stacked.denominators
    units = tuple(range(1, a.ndim - num_component_axes))
    numerator, denominator, moment, weight = _sums(units, a, b, a * b, lax.square(b))
    # Few of its digits matter: it need only be near the ratio.
    reference = least_squares_slope(moment, weight)
    residuals = a - jnp.expand_dims(reference, units) * b
    if num_component_axes:
        (residual,) = _sums(units, residuals)
        products = _products_of_components(units, residuals, b)
    else:
        residual, *mixed = _sums(units, residuals, lax.square(residuals), residuals * b)
        products = jnp.stack([*mixed, weight], axis=1)
    sums = jnp.stack([numerator, denominator, residual], axis=1)
    return stacked.num_units, reference, sums, products


def _products_of_components(units: tuple[int, ...], residuals: Array, b: Array) -> Array:
    both = jnp.stack([residuals, b], axis=1 + len(units))
    products = lax.dot_general(
        both,
        both,
        ((units, units), ((0,), (0,))),
        precision=lax.Precision.HIGHEST,
        **sharded_whole(both),
    )
    # From `[record, number, component, number, component]`.
    (of_residuals, mixed), (_, of_denominators) = jnp.moveaxis(products, (1, 3), (0, 1))
    return jnp.stack([of_residuals, mixed, of_denominators], axis=1)


def _sums(units: tuple[int, ...], *arrays: Array) -> Array:
    return lax.reduce_sum(jnp.stack(arrays), tuple(axis + 1 for axis in units))
