"""An interval of a mean, and Student's t for the mean of independent values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, all in the unit of the values."""

    mean: float
    low: float | None
    high: float | None
    n: int
    """How many values. With one there is no interval: `low` and `high` are None."""

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of `values` (n,), one per seed, and the Student t interval of that mean.

    mean +- t(n-1, (1+level)/2) * s / sqrt(n), with s the sample standard deviation (n-1).
    Source: Student (1908), "The probable error of a mean". It assumes seeds that are
    independent and roughly normal; it says nothing about the choice of test prompts, which all
    seeds share (`analysis.statistics.interval` does). Raises ValueError for no values, for one
    that is not finite, and for a level outside (0, 1).
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
