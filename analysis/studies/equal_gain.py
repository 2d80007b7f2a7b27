"""What a gain costs: two methods compared at equal reward, from weak to strong training.

A path is a method's settings from the weakest training to the strongest, each a point (cost,
gain) of means over seeds, and begins at the start model, (0, 0). Between neighbours the path is a
straight line. The cost of a gain is the least along the path where the gain is at least that.

Two paths are compared over the upper half of the gain that both reach, on evenly spaced levels:
the mean of one's cost minus the other's. Both have equally many settings, so equally many draws for
a lucky one. Means over seeds come first: the least and the highest of noisy points are no fair
estimates. The interval over seeds is the jackknife's (Tukey 1958): Student's t on the pseudo-values
n T - (n-1) T without one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.statistics import Interval, Sample, interval
from tiebreak_analysis.studies.effect import LEVEL, BySeed, Where, gain, pick

LEVELS = 21
EQUAL = "Equal reward: over the upper half of the gain that both reach"
Cost = Callable[[Record], float | None]
Path = Sequence[tuple[float, float]]
"""(cost, gain) of each setting, the weakest training first."""
Points = Mapping[int, Path]
"""Seed -> its path, all of the same settings, without the start model."""


class Compared(NamedTuple):
    """saved: first's cost minus second's at equal gain; None: one of them gained nothing.
    reach: the second's best gain as a share of the first's."""

    saved: Interval | None
    reach: Interval | None


def against_dpo(
    records: Sequence[Record], other: Where, over: str, strengths: Sequence[float], cost: Cost
) -> Compared:
    """DPO and another method at equal gain, over these values of the setting `over`, the weakest
    training first."""
    found = [
        _points([pick(records, {**where, over: value}) for value in strengths], cost)
        for where in ({"method.name": "dpo"}, other)
    ]
    return compare(*found)


def _points(runs: Sequence[BySeed], cost: Cost) -> Points:
    """Only seeds with a finished run of every setting. The gain is in gold reward."""
    found: dict[int, list[tuple[float, float]]] = {}
    for seed in sorted(set.intersection(*(set(by_seed) for by_seed in runs)) if runs else ()):
        path = [(cost(by_seed[seed]), gain(by_seed[seed])) for by_seed in runs]
        whole = [(paid, won) for paid, won in path if paid is not None and won is not None]
        if len(whole) == len(path):
            found[seed] = whole
    return found


def compare(first: Points, second: Points) -> Compared:
    """Two paths at equal gain, over the seeds both have; they have equally many settings."""
    seeds = sorted(set(first) & set(second))
    lengths = {len(points[seed]) for points in (first, second) for seed in seeds}
    assert len(lengths) <= 1, f"paths of different length: {lengths}"
    return Compared(
        _jackknife(seeds, lambda some: _saved(_path(first, some), _path(second, some))),
        _jackknife(seeds, lambda some: _reach(_path(first, some), _path(second, some))),
    )


def least_cost(path: Path, wanted: float) -> float | None:
    """The least cost along the path where the gain is at least `wanted`. None: never."""
    costs = [cost for cost, gain in path if gain >= wanted]
    for (cost_a, gain_a), (cost_b, gain_b) in pairwise(path):
        if (gain_a - wanted) * (gain_b - wanted) < 0:
            part = (wanted - gain_a) / (gain_b - gain_a)
            costs.append(cost_a + part * (cost_b - cost_a))
    return min(costs, default=None)


def _path(points: Points, seeds: Sequence[int]) -> Path:
    """The start model, then the mean of each setting over seeds."""
    mean = np.mean([points[seed] for seed in seeds], axis=0)  # (settings, 2)
    return [(0.0, 0.0), *((float(cost), float(gain)) for cost, gain in mean)]


def _saved(first: Path, second: Path) -> float | None:
    shared = min(max(gain for _, gain in path) for path in (first, second))
    if shared <= 0:
        return None
    apart = []
    for wanted in np.linspace(shared / 2, shared, LEVELS):
        costs = least_cost(first, float(wanted)), least_cost(second, float(wanted))
        assert costs[0] is not None and costs[1] is not None, "both reach what both reach"
        apart.append(costs[0] - costs[1])
    return float(np.mean(apart))


def _reach(first: Path, second: Path) -> float | None:
    most, reached = (max(gain for _, gain in path) for path in (first, second))
    return reached / most if most > 0 else None


def _jackknife(
    seeds: Sequence[int], statistic: Callable[[Sequence[int]], float | None]
) -> Interval | None:
    """The statistic of all seeds, with an interval over them. None: it cannot be formed."""
    whole, n = statistic(seeds) if seeds else None, len(seeds)
    if whole is None:
        return None
    without = [statistic([s for s in seeds if s != left]) for left in seeds] if n > 1 else []
    known = [one for one in without if one is not None]
    if len(known) < n:
        return Interval(whole, None, None, n)
    pseudo = np.array([n * whole - (n - 1) * one for one in known])
    found = interval(Sample(tuple(seeds), (), pseudo), LEVEL)
    if found.low is None or found.high is None:
        return Interval(whole, None, None, n)
    shift = whole - found.mean  # the bias the jackknife sees; the printed mean is the plain one
    return Interval(whole, found.low + shift, found.high + shift, n)
