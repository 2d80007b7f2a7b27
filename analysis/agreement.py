"""A judge against people, on pairs whose better answer people have named.

Pure functions of arrays with one value per pair: `preference`, what the judge gave the answer that
people preferred (1: it sides with them, 0: with the other, 0.5: a tie).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiebreak_analysis.win_rates import Array, Rate, checked, win_rate, z_of


@dataclass(frozen=True)
class Agreement:
    """How often a judge sides with people, and what it leans to instead.

    rate           mean preference for the answer that people preferred; over questions
    low, high      its interval
    kappa          Cohen's: agreement beyond what the two sides' habits give; None where it is not
                   defined
    position       mean preference for the answer that stands first, minus a half
    flipped        share of pairs whose verdict changes sides when the answers change places
    length         share of pairs in which the judge prefers the longer answer, minus the share in
                   which people do; ties by half, pairs of equal length left out
    length_error   its standard error
    n              pairs judged in both orders
    """

    rate: Rate
    low: float
    high: float
    kappa: float | None
    position: float
    flipped: float
    length: float
    length_error: float
    n: int


def agreement(
    better_first: Sequence[float] | Array,
    better_second: Sequence[float] | Array,
    length_better: Sequence[float] | Array,
    length_worse: Sequence[float] | Array,
    clusters: Sequence[str] | None = None,
    level: float = 0.95,
) -> Agreement:
    """Of pairs judged in both orders: the preference for the better answer (n,) where it stood
    first and where it stood second. Lengths (n,) of the two answers. clusters (n,): the question
    of each pair. ValueError: no pair, or a value outside [0, 1]."""
    first, second = checked(better_first), checked(better_second)
    preference = (first + second) / 2
    rate = win_rate(preference, clusters)
    low, high = wilson(rate, level)
    bias, error = length_bias(preference, length_better, length_worse)
    return Agreement(
        rate, low, high, kappa(first, second), position_bias(first, second),
        flipped(first, second), bias, error, len(first),
    )  # fmt: skip


def wilson(rate: Rate, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) score interval of a share, for as many independent questions as the standard
    error is worth; near 0 and 1 it does not leave the range."""
    share, z2 = rate.value, z_of(level) ** 2
    n = float(rate.n)
    if rate.error:
        n = min(n, share * (1 - share) / rate.error**2)
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def kappa(
    better_first: Sequence[float] | Array, better_second: Sequence[float] | Array
) -> float | None:
    """Cohen's (1960) kappa of judge and people over every judgement, by the place of the answer
    that is preferred: first, second, or (the judge alone) neither. With both orders people prefer
    each place equally often, so a judge that always says "first" has kappa 0."""
    first, second = checked(better_first), checked(better_second)
    judge = np.concatenate([np.sign(first - 0.5), np.sign(0.5 - second)])
    people = np.concatenate([np.ones(len(first)), -np.ones(len(second))])
    seen = float((judge == people).mean())
    by_chance = sum(float((judge == side).mean() * (people == side).mean()) for side in (1, -1))
    return None if by_chance >= 1 else (seen - by_chance) / (1 - by_chance)


def position_bias(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Mean preference for the answer that stands first, minus a half: 0.5 for a judge that always
    says "first". first, second (n,): the preference for one answer where it stood there."""
    one, other = np.asarray(first, float), np.asarray(second, float)
    return float((one - other).mean()) / 2


def flipped(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Share of pairs whose verdict changes, also from or to a tie, when the answers change
    places."""
    one, other = np.asarray(first, float), np.asarray(second, float)
    return float((np.sign(one - 0.5) != np.sign(other - 0.5)).mean())


def length_bias(
    preference: Array, better: Sequence[float] | Array, worse: Sequence[float] | Array
) -> tuple[float, float]:
    """(how much more often the judge prefers the longer answer than people do, standard error)."""
    apart = np.sign(np.asarray(better, float) - np.asarray(worse, float))
    # People prefer the longer answer where the better one is it.
    judge, people = 0.5 + apart * (preference - 0.5), 0.5 + apart * 0.5
    excess = (judge - people)[apart != 0]
    if len(excess) < 2:
        return 0.0, math.nan
    return float(excess.mean()), float(excess.std(ddof=1)) / math.sqrt(len(excess))
