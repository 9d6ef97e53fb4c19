"""How long ago: later wins in time, devices went side by side, and the clock never overflows."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.sharding import AxisType, PartitionSpec as P

import jax_sae_metrics as jsm
from jax_sae_metrics._accumulator import MAX_AGE, Scattered
from selection import all_of

NUM_DEVICES = 8
FEATURES = 5
LARGEST = 2**31 - 1


def seen(positions, clock):
    return jsm.LastSeen(jnp.asarray(positions, jnp.uint32), jnp.asarray(clock, jnp.uint32))


def dense(position, num_items):
    return jsm.LastSeenRecord(jnp.asarray(position, jnp.int32), jnp.asarray(num_items, jnp.int32))


def few(position, num_items):
    """As `dense`, but every feature comes twice, the first time too early; one is padding."""
    position = np.asarray(position)
    features = np.broadcast_to(np.arange(position.shape[-1]), position.shape)
    indices = np.concatenate([features, features, np.full_like(features[..., :1], 99)], axis=-1)
    values = np.concatenate([position // 2, position, np.full_like(position[..., :1], 7)], axis=-1)
    components = [i.reshape(-1) for i in jnp.indices(indices.shape, jnp.int32)[:-1]]
    scattered = Scattered(
        (*components, jnp.asarray(indices, jnp.int32).reshape(-1)),
        jnp.asarray(values, jnp.int32).reshape(-1),
        position.shape,
        is_maximum=True,
    )
    return jsm.LastSeenRecord(scattered, jnp.asarray(num_items, jnp.int32))


def as_state(position, num_items):
    return seen(position, num_items)


def record_of(fires):
    """The last position of each feature of `[item, feature]`; the first item is number 1."""
    numbers = np.arange(1, len(fires) + 1)[:, None]
    return np.max(fires * numbers, axis=0, initial=0), len(fires)


def ages_of(fires):
    """How many items of `[item, feature]` came after the last at which a feature fired."""
    position, num_items = record_of(fires)
    return num_items - position


def go_on(state, record):
    if isinstance(record, jsm.LastSeen):
        return state.merge(record)
    return state.add(record)


# A batch is added by one of these, which mean the same.
FORMS = {"dense": dense, "few": few, "merged": as_state}
BATCHES = {
    "one": [[[0, 1, 0, 0, 1], [1, 0, 0, 0, 1]]],
    "nothing fires later": [[[1, 1, 1, 0, 0]], [[0, 0, 0, 0, 0]]],
    "some fire again": [[[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], [[0, 1, 0, 1, 0], [0, 0, 0, 0, 1]]],
    "empty batches": [[], [[1, 0, 0, 0, 0]], [], [[0, 1, 0, 0, 0]], []],
    "three": [[[0, 0, 1, 0, 0]] * 3, [[1, 0, 0, 0, 0]], [[0, 1, 0, 0, 0]] * 2],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batches", BATCHES)
def test_ages_are_those_of_all_items_in_a_row(batches, form):
    batches = [np.reshape(batch, (-1, FEATURES)).astype(int) for batch in BATCHES[batches]]
    state = jsm.LastSeen.zeros((FEATURES,))
    for fires in batches:
        state = go_on(state, FORMS[form](*record_of(fires)))
    np.testing.assert_array_equal(state.age(), ages_of(np.concatenate(batches)))
    np.testing.assert_array_equal(state.to_numpy(), ages_of(np.concatenate(batches)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 6)] * 3))
def test_merge_in_time_is_associative(seed, sizes):
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, 2, (size, FEATURES)) for size in sizes]
    a, b, c = (as_state(*record_of(fires)) for fires in histories)
    wanted = ages_of(np.concatenate(histories))
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c))):
        np.testing.assert_array_equal(merged.age(), wanted)


CLOCKS = (0, 5, MAX_AGE - 1, MAX_AGE, LARGEST - 4, LARGEST)


def positions_before(clock):
    """Positions at the start, at the end, never, and around the largest age."""
    positions = (0, 1, clock - MAX_AGE, clock - MAX_AGE + 1, clock)
    return np.array([min(max(position, 0), clock) for position in positions])


@pytest.mark.parametrize("form", all_of(FORMS, by_default=["dense"]))
@pytest.mark.parametrize("num_items", CLOCKS[1:])
@pytest.mark.parametrize("clock", CLOCKS)
def test_the_clock_is_turned_back_before_it_overflows(clock, num_items, form):
    before = positions_before(clock)
    for last_in_batch in (0, 1, num_items):
        later = np.array([0, last_in_batch, 0, 0, 0])
        after = go_on(seen(before, clock), FORMS[form](later, num_items))
        position = np.where(later > 0, clock + later, before)
        wanted = np.minimum(clock + num_items - position, MAX_AGE)
        np.testing.assert_array_equal(after.age(), wanted)
        assert int(after.clock) == min(clock + num_items, int(after.clock)) < 2**31
        assert int(after.clock) >= min(clock + num_items, MAX_AGE)


def test_ages_go_on_for_many_turns_of_the_clock():
    state = seen([0, 1, 2, 3, 4], 4)
    for turn in range(1, 9):
        fires = [0, 0, LARGEST - turn, 0, 0]
        state = state.add(dense(fires, LARGEST))
        np.testing.assert_array_equal(state.age(), [MAX_AGE, MAX_AGE, turn, MAX_AGE, MAX_AGE])


@pytest.mark.parametrize("clocks", [*itertools.product((3, MAX_AGE, LARGEST), repeat=3)])
def test_merge_in_time_is_associative_for_large_clocks(clocks):
    a, b, c = (seen(np.roll(positions_before(clock), i), clock) for i, clock in enumerate(clocks))
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    np.testing.assert_array_equal(left.age(), right.age())


def test_components_have_clocks_of_their_own():
    state = seen([[1, 0], [1, 0], [LARGEST, 3]], [4, 2, LARGEST])
    for form in (dense, few, as_state):
        after = go_on(state, form(np.array([[0, 2], [0, 0], [0, 0]]), np.array([3, 0, 1])))
        np.testing.assert_array_equal(after.age(), [[6, 1], [1, 2], [1, MAX_AGE]])


def over_devices(function, check_vma):
    """Run `function(same everywhere, a device's own)` on 8 devices."""
    mesh = jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    return jax.jit(
        jax.shard_map(
            lambda same, own: function(same, jax.tree.map(lambda leaf: leaf[0], own)),
            mesh=mesh,
            in_specs=(P(), P("data")),
            out_specs=P(),
            check_vma=check_vma,
        )
    )


def over_vmap(function):
    mapped = jax.vmap(function, in_axes=(None, 0), axis_name="data")
    return jax.jit(lambda same, own: jax.tree.map(lambda leaf: leaf[0], mapped(same, own)))


DEVICES = {
    "shard_map checked": functools.partial(over_devices, check_vma=True),
    "shard_map unchecked": functools.partial(over_devices, check_vma=False),
    "vmap": over_vmap,
}


def ages_side_by_side(positions, clocks):
    """Count by hand what all devices did after an item of one, if all ended together."""
    ages = []
    for feature in positions.T:
        behind = [
            sum(min(int(other), int(clock) - int(position)) for other in clocks)
            for position, clock in zip(feature, clocks, strict=True)
            if position > 0
        ]
        ages.append(min([*behind, sum(map(int, clocks)), MAX_AGE]))
    return np.array(ages)


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("length", ["equal", "unequal", "some without items", "large"])
def test_all_reduce_takes_devices_to_have_gone_side_by_side(length, devices):
    rng = np.random.default_rng(0)
    clocks = {
        "equal": np.full(NUM_DEVICES, 7),
        "unequal": rng.integers(1, 12, NUM_DEVICES),
        "some without items": rng.integers(0, 3, NUM_DEVICES),
        "large": np.array([LARGEST, MAX_AGE, 5, LARGEST - 1, 2**29, 1, 0, LARGEST]),
    }[length]
    positions = np.array([rng.integers(0, clock + 1, FEATURES) for clock in clocks])
    positions *= rng.random(positions.shape) < 0.3
    positions[:, 0], positions[:, 1] = 0, [0, 0, clocks[2], 0, 0, 0, 0, 0]
    run = DEVICES[devices](lambda _, state: state.all_reduce("data"))
    reduced = run(None, seen(positions, clocks))
    wanted = ages_side_by_side(positions, clocks)
    np.testing.assert_array_equal(reduced.age(), wanted)
    np.testing.assert_array_equal(reduced.clock, min(clocks.sum(), MAX_AGE))
    # It goes on as a state like any other.
    after = reduced.add(dense([0, 0, 0, 0, 2], 3))
    wanted = np.minimum(np.where([0, 0, 0, 0, 1], 1, wanted + 3), MAX_AGE)
    np.testing.assert_array_equal(after.age(), wanted)


def few_that_fired(position, num_items):
    """At most 20 entries, the rest of them padding."""
    (features,) = np.nonzero(position)
    padded = [*features, *[len(position)] * (20 - len(features))]
    scattered = Scattered(
        (jnp.asarray(padded, jnp.int32),),
        jnp.asarray([*position[features], *[3] * (20 - len(features))], jnp.int32),
        position.shape,
        is_maximum=True,
    )
    return jsm.LastSeenRecord(scattered, jnp.asarray(num_items, jnp.int32))


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("form", [dense, few_that_fired], ids=["dense", "few"])
def test_with_axis_name_the_items_of_devices_follow_each_other(form, devices):
    rng = np.random.default_rng(1)
    num_features = 200  # more than there are entries on all devices
    state = jsm.LastSeen.zeros((num_features,))
    history = []
    run = DEVICES[devices](lambda state, record: state.add(record, "data"))
    for _ in range(3):
        sizes = rng.integers(0, 7, NUM_DEVICES)
        parts = [(rng.random((size, num_features)) < 0.01).astype(int) for size in sizes]
        history += parts
        records = [form(*record_of(part)) for part in parts]
        state = run(state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *records))
    np.testing.assert_array_equal(state.age(), ages_of(np.concatenate(history)))


def test_what_is_not_a_record_is_refused():
    with pytest.raises(ValueError, match="LastSeenRecord"):
        jsm.LastSeen.zeros((3,)).add(jnp.zeros(3, jnp.int32))
