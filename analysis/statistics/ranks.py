"""Ranks over blocks (scenario, task, seed): Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiebreak_analysis.statistics.interval import check_level


@dataclass(frozen=True)
class Ranking:
    """Mean ranks, best first, and how far apart two of them must lie."""

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    """1 is the best; equal values share the mean of their places."""
    num_blocks: int
    p: float
    """Of "no method differs", Friedman's test in Iman and Davenport's form."""
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    """Largest sets of neighbours within the critical difference: the bars of the diagram."""


def rank(values_BM: np.ndarray, *, higher_is_better: bool = True) -> np.ndarray:
    """Ranks (blocks, methods) inside each block, 1 the best, ties sharing their mean place.

    ValueError: not two axes, a value not finite.
    """
    from scipy.stats import rankdata

    if values_BM.ndim != 2 or not np.isfinite(values_BM).all():
        raise ValueError("values must be finite, of shape (blocks, methods)")
    return rankdata(-values_BM if higher_is_better else values_BM, axis=1)


def friedman(
    names: Sequence[str],
    values_BM: np.ndarray,
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
) -> Ranking:
    """Rank the methods over blocks (blocks, methods), every method measured in every block.

    F = (B-1) chi / (B (M-1) - chi), chi Friedman's (1937) statistic corrected for ties, against
    F(M-1, (M-1)(B-1)): Iman and Davenport (1980). Two methods differ if their mean ranks are at
    least q sqrt(M (M+1) / (6 B)) apart, q the studentised range over sqrt(2): Nemenyi (1963) as in
    Demsar (2006), section 3.2.2. Seeds of one scenario are no independent tasks: the statement is
    about these scenarios and tasks. ValueError: fewer than three methods or two blocks, names that
    do not fit, a value not finite, a level outside (0, 1).
    """
    from scipy.stats import studentized_range

    check_level(level)
    ranks_BM = rank(values_BM, higher_is_better=higher_is_better)
    blocks, methods = ranks_BM.shape
    if methods != len(names) or methods < 3 or blocks < 2:
        raise ValueError(
            f"three or more methods and two or more blocks are needed, a name for each method: "
            f"{len(names)} names, shape {values_BM.shape}"
        )
    means_M = ranks_BM.mean(0)
    p = _iman_davenport(ranks_BM)
    q = float(studentized_range.ppf(level, methods, math.inf)) / math.sqrt(2)
    apart = q * math.sqrt(methods * (methods + 1) / (6 * blocks))
    order = sorted(range(methods), key=lambda at: (means_M[at], names[at]))
    ordered = tuple(float(means_M[at]) for at in order)
    told = tuple(names[at] for at in order)
    return Ranking(told, ordered, blocks, p, apart, _groups(told, ordered, apart))


def _iman_davenport(ranks_BM: np.ndarray) -> float:
    """p of equal mean ranks; 0 where every block ranks alike, 1 where every block is one tie."""
    from scipy.special import fdtrc

    blocks, methods = ranks_BM.shape
    middle = (methods + 1) / 2
    spread = np.square(ranks_BM - middle).sum() / (methods - 1)
    between = blocks**2 * np.square(ranks_BM.mean(0) - middle).sum()
    chi = float(between / spread) if spread else 0.0
    rest = blocks * (methods - 1) - chi
    if rest <= 1e-9:
        return 0.0
    return float(fdtrc(methods - 1, (methods - 1) * (blocks - 1), (blocks - 1) * chi / rest))


def _groups(
    names: tuple[str, ...], ranks: tuple[float, ...], apart: float
) -> tuple[tuple[str, ...], ...]:
    """Sets of two or more neighbours whose ends are closer than `apart`, none inside another."""
    groups, reached = [], 0
    for first in range(len(names)):
        last = first + sum(r - ranks[first] < apart for r in ranks[first:])
        if last > max(reached, first + 1):
            groups.append(names[first:last])
            reached = last
    return tuple(groups)
