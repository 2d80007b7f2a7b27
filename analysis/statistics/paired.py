"""Two methods on the same seeds and items: what is left of both when they are subtracted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, stdtr

from tiebreak_analysis.statistics.crossed import crossed, half_width, p_value
from tiebreak_analysis.statistics.interval import check_level, mean_interval
from tiebreak_analysis.statistics.sample import Sample


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
    (1908). For a mean difference that only items judge, of one model and another, see
    `bootstrap_interval` and `mcnemar`. ValueError: nothing in common, items on one side only, a
    level outside (0, 1).
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
        return _of_seeds(apart.ravel(), level, counts)
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


def _of_seeds(apart_S: np.ndarray, level: float, counts: tuple[int, int]) -> Difference:
    found = mean_interval([float(value) for value in apart_S], level)
    error = float(apart_S.std(ddof=1)) / len(apart_S) ** 0.5
    if error <= 1e-12 * abs(found.mean):
        return Difference(found.mean, None, None, None, *counts)
    p = 2 * float(stdtr(len(apart_S) - 1, -abs(found.mean) / error))
    return Difference(found.mean, found.low, found.high, p, *counts)


@dataclass(frozen=True)
class McNemar:
    """Items that only one of two models has right, and the two-sided p of "equally many"."""

    only_a: int
    only_b: int
    p: float


def mcnemar(a_I: np.ndarray, b_I: np.ndarray) -> McNemar:
    """McNemar's (1947) test in its exact form: two models, one answer each to the items (I,).

    Items both have right or both wrong say nothing; of the others, n, each model has half if they
    are equally good, so p = min(1, 2 P(Binomial(n, 1/2) <= the smaller count)). It compares two
    models, not two methods: nothing is said about another seed. ValueError: shapes that differ,
    values that are not 0 or 1.
    """
    if a_I.shape != b_I.shape or a_I.ndim != 1:
        raise ValueError(f"one answer per item is needed from both: {a_I.shape} and {b_I.shape}")
    if not (np.isin(a_I, (0, 1)).all() and np.isin(b_I, (0, 1)).all()):
        raise ValueError("McNemar's test is for right (1) and wrong (0): another value was found")
    only_a, only_b = int((a_I > b_I).sum()), int((b_I > a_I).sum())
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return McNemar(only_a, only_b, p)
