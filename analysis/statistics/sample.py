"""Measured values, the mean with its interval, and how many seeds are enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

MIN_SEEDS = 3
"""Fewer seeds give no interval worth printing: with two, Student's t is 12.7; with one, none."""

RECOMMENDED_SEEDS = 12
"""Seeds at which a gap of 0.05 in gold reward is found in four of five tables of the usual size
(`python benchmarks/verdicts.py`); see docs/statistics.md."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of one metric. ValueError: shapes that disagree, repeats, a value not finite."""

    seeds: tuple[int, ...]
    items: tuple[str, ...]
    """The questions, which every seed answered; () when there is one value per seed."""
    values: np.ndarray
    """(seeds, items), or (seeds,) when `items` is ()."""

    def __post_init__(self) -> None:
        shape = (len(self.seeds), len(self.items)) if self.items else (len(self.seeds),)
        if self.values.shape != shape:
            raise ValueError(
                f"values have shape {self.values.shape}; {len(self.seeds)} seeds and "
                f"{len(self.items)} items need {shape}"
            )
        if not self.seeds:
            raise ValueError("a sample needs at least one seed")
        for what, names in (("seed", self.seeds), ("item", self.items)):
            name, count = Counter(names).most_common(1)[0] if names else (None, 0)
            if count > 1:
                raise ValueError(f"{what} {name!r} is there {count} times")
        if not np.isfinite(self.values).all():
            raise ValueError("a value of the sample is not finite")

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def at(self, seeds: tuple[int, ...], items: tuple[str, ...]) -> np.ndarray:
        """The values of these seeds and items, in their order: (seeds, items) or (seeds,)."""
        row_of = {seed: at for at, seed in enumerate(self.seeds)}
        rows = self.values[[row_of[seed] for seed in seeds]]
        if not self.items:
            return rows
        column_of = {item: at for at, item in enumerate(self.items)}
        return rows[:, [column_of[item] for item in items]]


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, all in the unit of the values."""

    mean: float
    low: float | None
    high: float | None
    n: int
    """Number of values. With one there is no interval: `low` and `high` are None."""

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of `values` (n,), one per seed, and the Student t interval of that mean.

    mean +- t(n-1, (1+level)/2) * s / sqrt(n), with s the sample standard deviation (n-1).
    Source: Student (1908), "The probable error of a mean". It assumes seeds that are
    independent and roughly normal; it says nothing about the choice of test prompts, which all
    seeds share (`analysis.statistics.interval` does). ValueError: no values, one that is not
    finite, a level outside (0, 1).
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"values must be one or more finite numbers: {values!r}")
    check_level(level)
    n, first = len(values), values[0]  # from the first on, so that equal values have no width
    centre = first + math.fsum(value - first for value in values) / n
    if n == 1:
        return Interval(centre, None, None, 1)
    squares = math.fsum((value - centre) ** 2 for value in values)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(squares / (n - 1) / n)
    return Interval(centre, centre - half, centre + half, n)


def check_level(level: float) -> None:
    """ValueError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1: {level!r}")
