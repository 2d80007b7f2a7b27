"""How often a run of one method beats a run of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from tiebreak_analysis.statistics.interval import Interval, check_level


def probability_of_improvement(
    tasks: Sequence[tuple[np.ndarray, np.ndarray]], level: float = 0.95
) -> Interval:
    """The chance that a random run of a beats one of b: the mean over tasks, with its interval.

    `tasks`: per task the values of a (R_a,) and of b (R_b,), one per seed, higher better; a tie is
    half a win. Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.3. Their bootstrap gives
    [1, 1] to three wins out of three; the interval here is Newcombe's (2006, "Confidence intervals
    for an effect size measure based on the Mann-Whitney statistic", method 5): all t in (0, 1)
    with |estimate - t| <= q sqrt(V(t)), where per task, with k = (R_a + R_b) / 2 - 1,

        V(t) = t (1 - t) (1 + k (1 - t) / (2 - t) + k t / (1 + t)) / (R_a R_b)

    and over T tasks V is their sum over T^2. q is Student's quantile with R_a + R_b - 2 degrees of
    freedom per task, not Newcombe's normal one: by that, three wins of three would be significant,
    which happens to equal methods one time in ten. That runs of one seed are alike is not used.
    n: runs of the method with fewer. ValueError: no task, a task with fewer than three runs in all
    or none of a method, a value not finite, a level outside (0, 1).
    """
    check_level(level)
    if not tasks or any(min(len(a), len(b)) < 1 or len(a) + len(b) < 3 for a, b in tasks):
        raise ValueError("a task needs at least one value of each method, and three in all")
    if not all(np.isfinite(a).all() and np.isfinite(b).all() for a, b in tasks):
        raise ValueError("a value is not finite")
    wins = [float(((np.sign(a[:, None] - b[None, :]) + 1) / 2).mean()) for a, b in tasks]
    estimate = sum(wins) / len(tasks)
    sizes = [(len(a), len(b)) for a, b in tasks]
    q = float(stdtrit(sum(a + b - 2 for a, b in sizes), (1 + level) / 2))
    low = _solve(estimate, 0.0, sizes, q)
    high = _solve(estimate, 1.0, sizes, q)
    fewest = min(sum(a for a, _ in sizes), sum(b for _, b in sizes))
    return Interval(estimate, low, high, fewest)


def _variance(t: float, sizes: Sequence[tuple[int, int]]) -> float:
    total = 0.0
    for runs_a, runs_b in sizes:
        k = (runs_a + runs_b) / 2 - 1
        total += t * (1 - t) * (1 + k * (1 - t) / (2 - t) + k * t / (1 + t)) / (runs_a * runs_b)
    return total / len(sizes) ** 2


def _solve(estimate: float, end: float, sizes: Sequence[tuple[int, int]], q: float) -> float:
    """The value farthest towards `end` (0 or 1) that is compatible with the estimate."""
    inside, outside = estimate, end
    for _ in range(60):
        middle = (inside + outside) / 2
        fits = abs(estimate - middle) <= q * _variance(middle, sizes) ** 0.5
        inside, outside = (middle, outside) if fits else (inside, middle)
    return inside
