"""Methods on the same seeds and items: their difference, and many tests at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtr

from tiebreak_analysis.statistics.crossed import crossed, half_width, p_value
from tiebreak_analysis.statistics.sample import Sample, check_level, mean_interval

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Difference:
    """a minus b, with its interval and the two-sided p of "there is none", not yet corrected.

    With one common seed, or where every value of the difference is the same (no spread to judge it
    by), `low`, `high` and `p` are None.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    num_seeds: int
    num_items: int
    """0: one value per seed."""


def difference(a: Sample, b: Sample, level: float = 0.95) -> Difference:
    """a minus b on the seeds and items they share: mean, interval and p of the differences.

    The same seed gives both methods the same start model and batches, and the same items make
    their difficulty cancel, so the differences (seeds, items) are taken first and judged as one
    two-way table (`analysis.statistics.crossed`); with one value per seed by Student's paired t
    (1908). ValueError: nothing in common, items on one side only, a level outside (0, 1).
    """
    check_level(level)
    seeds = tuple(seed for seed in a.seeds if seed in set(b.seeds))
    items = _common_items(a, b)
    if not seeds:
        raise ValueError(f"no seed in common: {a.seeds} and {b.seeds}")
    apart = a.at(seeds, items) - b.at(seeds, items)
    counts = len(seeds), len(items)
    mean = float(apart.mean())
    if len(seeds) == 1:
        return Difference(mean, None, None, None, *counts)
    if not apart.any():
        return Difference(0.0, 0.0, 0.0, 1.0, *counts)
    if len(items) < 2:
        return _paired_t_over_seeds(apart.ravel(), level, counts)
    squares = crossed(apart)
    p = float(p_value(squares))
    if np.isnan(p):
        return Difference(mean, None, None, None, *counts)
    half = half_width(squares, level)
    return Difference(mean, mean - half, mean + half, p, *counts)


def _common_items(a: Sample, b: Sample) -> tuple[str, ...]:
    if bool(a.items) != bool(b.items):
        raise ValueError("one sample has items, the other one value per seed: not comparable")
    there = set(b.items)
    items = tuple(item for item in a.items if item in there)
    if a.items and not items:
        raise ValueError(f"no item in common: {a.items[0]!r} ... and {b.items[0]!r} ...")
    return items


def _paired_t_over_seeds(apart_S: np.ndarray, level: float, counts: tuple[int, int]) -> Difference:
    found = mean_interval([float(value) for value in apart_S], level)
    error = float(apart_S.std(ddof=1)) / len(apart_S) ** 0.5
    if error <= 1e-12 * abs(found.mean):
        return Difference(found.mean, None, None, None, *counts)
    p = 2 * float(stdtr(len(apart_S) - 1, -abs(found.mean) / error))
    return Difference(found.mean, found.low, found.high, p, *counts)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the same order; reject where one is below 1 - level.

    Holm (1979), "A simple sequentially rejective multiple test procedure": with m values sorted
    upwards, the i-th becomes max over j <= i of min(1, (m - j + 1) p_j). The chance of any false
    rejection in the family is at most 1 - level, however the tests depend on one another. None (not
    testable) stays None and does not count in m. ValueError: a p outside [0, 1].
    """
    tested = sorted((value, at) for at, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    so_far = 0.0
    for place, (value, at) in enumerate(tested):
        if not 0 <= value <= 1:
            raise ValueError(f"a p-value lies between 0 and 1: {value!r}")
        so_far = max(so_far, min(1.0, (len(tested) - place) * value))
        adjusted[at] = so_far
    return adjusted


def adjust(p: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """`holm` over named tests: one family is everything that one table may declare."""
    return dict(zip(p, holm(list(p.values())), strict=True))
