"""Timing of several contenders against each other, in turn."""

import dataclasses
import gc
import math
import time
from collections.abc import Callable

import numpy as np

# A sample lasts long enough that the clock and the last wait do not matter.
_MIN_SAMPLE_SECONDS = 0.003
_MAX_CALLS = 1000
_MAX_ROUNDS = 60
# Of a normal distribution, which means of many rounds have, 95% is within so many deviations.
_DEVIATIONS = 1.96


@dataclasses.dataclass(frozen=True)
class Contender:
    """Something to time.

    `run` starts one call; `wait` returns when all started calls are done. `against` names the
    contender of the same comparison whose time divides this one's; a baseline has none.
    """

    name: str
    run: Callable[[], object]
    wait: Callable[[], object]
    against: str | None = None
    calls: int | None = None  # in one sample; None for as many as it takes
    items: int | None = None  # that one call handles, where the time of each is of interest
    settle_seconds: float = 0.0  # to sleep after a sample, where threads spin on for a while
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    prepare: Callable[[], object] | None = None  # called before a sample, and not timed


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture that comparisons are drawn into."""

    name: str
    title: str
    axis: str  # what the ratios are


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Contenders that do the same work, and where their ratios are drawn."""

    suite: str
    title: str
    shape: str
    dtype: str
    contenders: list[Contender]
    figure: Figure
    panel: str
    series: str = ""  # comparisons of one panel are told apart by colour
    notes: tuple[str, ...] = ()
    seconds: float = 10.0  # to spend on rounds; the fewest rounds may take longer
    fewest_rounds: int = 5


@dataclasses.dataclass(frozen=True)
class Quartiles:
    """The median of some samples, and how far they spread."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, samples: np.ndarray) -> "Quartiles":
        """The quartiles of a vector."""
        lower, median, upper = np.quantile(samples, (0.25, 0.5, 0.75))
        return cls(median=float(median), lower=float(lower), upper=float(upper))


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of some samples, and half the width of its 95% confidence interval."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, samples: np.ndarray) -> "Mean":
        """The mean of a vector."""
        error = np.std(samples, ddof=1) / math.sqrt(len(samples))
        return cls(mean=float(np.mean(samples)), half_width=float(_DEVIATIONS * error))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Results of one contender: seconds of one call, and ratios within the same round."""

    contender: Contender
    seconds: Quartiles
    ratio: Quartiles | None
    mean_ratio: Mean | None
    rounds: int
    calls: int
    temporary_bytes_more: int | None  # than its baseline

    @property
    def nanoseconds_per_item(self) -> float | None:
        """The median time of a call, for each of its items."""
        items = self.contender.items
        return None if items is None else self.seconds.median / items * 1e9


def measure(comparison: Comparison, seconds_to_spend: float) -> list[Measurement]:
    """Warm up, then run every contender once in each round.

    What disturbs a machine for a second disturbs all contenders of a round alike. Ratios are
    therefore taken within rounds, and the median over rounds is the result; it is not the ratio of
    the medians. Every round has a new order, so that no contender always follows the same other
    one.
    """
    contenders = comparison.contenders
    for contender in contenders:
        _sample(contender, calls=1)
    calls = [contender.calls or _calls_of_a_sample(contender) for contender in contenders]
    start = time.perf_counter()
    for contender, number in zip(contenders, calls, strict=True):
        _sample(contender, number)
    round_seconds = time.perf_counter() - start
    rounds = max(min(int(seconds_to_spend / round_seconds), _MAX_ROUNDS), comparison.fewest_rounds)

    seconds, shuffle = np.zeros((rounds, len(contenders))), np.random.default_rng(0)
    gc.collect()
    gc.disable()
    try:
        for index in range(rounds):
            for turn in shuffle.permutation(len(contenders)):
                seconds[index, turn] = _sample(contenders[turn], calls[turn]) / calls[turn]
    finally:
        gc.enable()

    places = {contender.name: place for place, contender in enumerate(contenders)}
    if len(places) != len(contenders):
        raise ValueError(f"{comparison.title}: two contenders have the same name.")
    measurements = []
    for place, contender in enumerate(contenders):
        ratio, mean_ratio, more = None, None, None
        if contender.against is not None:
            baseline = places[contender.against]
            ratios = seconds[:, place] / seconds[:, baseline]
            ratio, mean_ratio = Quartiles.of(ratios), Mean.of(ratios)
            mine, theirs = contender.temporary_bytes, contenders[baseline].temporary_bytes
            more = None if mine is None or theirs is None else mine - theirs
        measurements.append(
            Measurement(
                contender=contender,
                seconds=Quartiles.of(seconds[:, place]),
                ratio=ratio,
                mean_ratio=mean_ratio,
                rounds=rounds,
                calls=calls[place],
                temporary_bytes_more=more,
            )
        )
    return measurements


def _sample(contender: Contender, calls: int) -> float:
    """Seconds that some calls take together."""
    run = contender.run
    if contender.prepare is not None:
        contender.prepare()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    contender.wait()
    seconds = time.perf_counter() - start
    if contender.settle_seconds:
        time.sleep(contender.settle_seconds)
    return seconds


def _calls_of_a_sample(contender: Contender) -> int:
    seconds = _sample(contender, calls=1)
    return min(max(math.ceil(_MIN_SAMPLE_SECONDS / max(seconds, 1e-9)), 1), _MAX_CALLS)
