"""Win rates that a judge gave: raw, with length controlled, and corrected for the judge's mistakes.

Pure functions of arrays with one value per question: 1 where the judge preferred the model's own
answer, 0 where the other, anything between where it was undecided (a tie is a half). Three things
are wrong with a raw win rate, and each has a function here:

- `controlled`: judges like long answers. A logistic regression of the preference on the difference
  in length says what the rate would be if both answers were equally long (Dubois et al. 2024,
  arXiv:2404.04475, whose length term is the tanh of the normalised difference).
- `corrected`: judges err. With P(judge prefers a | people prefer a) measured on labelled pairs, the
  rate that people would have given follows (Rogan and Gladen 1978; for judges arXiv:2511.21140).
  The interval is Fieller's (1954): it holds the sampling error of both samples, and is the whole
  range where the judge cannot be told from a coin.
- `repeatability`: asked again, a judge moves, question by question and all questions together. Only
  the first is in a standard error over questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, ndtri

from tiebreak_analysis.statistics import check_level

Array = np.ndarray[Any, np.dtype[np.float64]]
PRIOR = 10.0
"""Standard deviation of the coefficients of a regression, in logits: without it, a model that wins
every question has none. It moves a rate between 2 and 98 % by less than 0.1 points."""


@dataclass(frozen=True)
class Rate:
    """A mean over questions and its standard error. error None: fewer than two clusters."""

    value: float
    error: float | None
    n: int
    """Questions with a judgement."""

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Both ends by the normal approximation, within 0 and 1."""
        if self.error is None:
            return None
        half = z_of(level) * self.error
        return max(0.0, self.value - half), min(1.0, self.value + half)


def z_of(level: float) -> float:
    """The normal quantile of a two-sided interval. ValueError: a level outside (0, 1)."""
    check_level(level)
    return float(ndtri((1 + level) / 2))


def win_rate(wins: Sequence[float] | Array, clusters: Sequence[str] | None = None) -> Rate:
    """The mean of `wins` (n,), ties counted by half, with its standard error over questions.

    clusters (n,): what was drawn together, such as the turns of one conversation; the standard
    error is then over clusters (Liang and Zeger 1986). ValueError: none, or one outside [0, 1].
    """
    values = checked(wins)
    mean = float(values.mean())
    groups = (
        np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    )
    if len(groups) != len(values):
        raise ValueError(f"{len(values)} values and {len(groups)} clusters")
    number = int(groups.max()) + 1
    if number < 2:
        return Rate(mean, None, len(values))
    sums = np.bincount(groups, values - mean)
    variance = number / (number - 1) * float(np.square(sums).sum()) / len(values) ** 2
    return Rate(mean, math.sqrt(variance), len(values))


def checked(values: Sequence[float] | Array) -> Array:
    """As an array (n,). ValueError: none, or one outside [0, 1]."""
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"give one or more values from 0 to 1: {array!r}")
    return array


def length_term(own: Sequence[float] | Array, other: Sequence[float] | Array) -> Array:
    """tanh of the difference in length, in units of its standard deviation over the questions: 0
    where both are as long. Characters or tokens, as long as both are the same."""
    apart = np.asarray(own, dtype=float) - np.asarray(other, dtype=float)
    spread = float(apart.std())
    return np.tanh(apart / spread) if spread > 0 else np.zeros_like(apart)


@dataclass(frozen=True, eq=False)
class Controlled:
    """A rate with something held equal. items (n,): their mean is the rate and their spread its
    standard error, so that paired tests and intervals follow as for any other column."""

    rate: Rate
    items: Array
    coefficients: Array
    """In logits: of the model, of what is kept, of what is held equal."""


def controlled(
    wins: Sequence[float] | Array, removed: Array, kept: Array | None = None
) -> Controlled:
    """The win rate had the columns of `removed` (n,) or (n, k) been 0 for every question.

    logit P(win) = model + kept + removed, fitted to all questions; then P is averaged over them
    with `removed` at 0. kept (n, j): what stays, such as how hard the instruction is. Each question
    is given the rate plus its influence on it (Hampel 1974), which is what the delta method sums:
    the uncertainty of the coefficients is in the spread of `items`. ValueError: as `win_rate`.
    """
    y = checked(wins)
    n = len(y)
    hold, out = (np.zeros((n, 0)) if part is None else np.asarray(part, float).reshape(n, -1)
                 for part in (kept, removed))  # fmt: skip
    design = np.hstack([np.ones((n, 1)), hold, out])
    equal = np.hstack([np.ones((n, 1)), hold, np.zeros_like(out)])
    weights = _logistic(design, y)
    fitted, level = expit(design @ weights), expit(equal @ weights)
    information = _information(design, fitted)
    slope = ((level * (1 - level))[:, None] * equal).mean(0)
    influence = n * (design * (y - fitted)[:, None]) @ np.linalg.solve(information, slope)
    value = float(level.mean())
    items = level + influence
    items += value - items.mean()  # the prior pulls the scores a little off zero
    error = float(items.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Controlled(Rate(value, error, n), items, weights)


def _information(design: Array, fitted: Array) -> Array:
    curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design
    return curvature + np.eye(design.shape[1]) / PRIOR**2


def _logistic(design: Array, y: Array) -> Array:
    """Coefficients (k,) by Newton's method with halved steps."""

    def loss(w: Array) -> float:
        score = design @ w
        return float((np.logaddexp(0, score) - y * score).sum() + (w @ w) / (2 * PRIOR**2))

    weights = np.zeros(design.shape[1])
    for _ in range(100):
        fitted = expit(design @ weights)
        gradient = design.T @ (fitted - y) + weights / PRIOR**2
        step = np.linalg.solve(_information(design, fitted), gradient)
        size, now = 1.0, loss(weights)
        while loss(weights - size * step) > now and size > 1e-6:
            size /= 2
        weights = weights - size * step
        if float(np.abs(step).max()) < 1e-9:
            break
    return weights


@dataclass(frozen=True)
class Repeatability:
    """What a judge gave when it was asked the same questions again.

    questions  judged twice
    flips      share of them whose preference changed sides, or to or from a tie
    shift      mean of the second judgements minus mean of the first: all questions together
    variance   of the difference between two sessions of this judge over these questions
    """

    questions: int
    flips: float
    shift: float
    variance: float


def repeatability(first: Sequence[float] | Array, again: Sequence[float] | Array) -> Repeatability:
    """Of the same questions (m,), judged in two sessions. ValueError: none, or not as many.

    Flips that go both ways cancel, and are in a standard error over questions already. What does
    not cancel is a shift d of the whole session, which a standard error over questions does not
    see. One repetition estimates its variance with one degree of freedom, and d^2 is often near 0
    by chance; so the variance is the mean of d^2 and of what m questions cannot exclude, which is
    the variance of d were there no shift. benchmarks/judge_intervals.py counts what that is worth.
    """
    a, b = checked(first), checked(again)
    if a.shape != b.shape:
        raise ValueError(f"{len(a)} first judgements and {len(b)} second ones")
    apart = b - a
    shift, chance = float(apart.mean()), float(np.square(apart).mean()) / len(a)
    flips = float((np.sign(a - 0.5) != np.sign(b - 0.5)).mean())
    return Repeatability(len(a), flips, shift, (shift**2 + chance) / 2)


@dataclass(frozen=True)
class Calibration:
    """How a judge answers where people have answered: means of its preference for an answer.

    when_better, when_worse   mean where people preferred that answer, and where the other
    variances and covariance  of these two means
    """

    when_better: float
    when_worse: float
    variance_better: float
    variance_worse: float
    covariance: float = 0.0

    @classmethod
    def of(cls, preference: Sequence[float] | Array, human: Sequence[float] | Array) -> Calibration:
        """From pairs (n,) in which the first answer has a meaning (it is the model's): the judge's
        preference for it, and that of people (1 or 0). ValueError: one of the two is missing."""
        judged, people = checked(preference), checked(human)
        sides = [judged[people == side] for side in (1, 0)]
        if not all(map(len, sides)):
            raise ValueError("people preferred the same side in every pair: no calibration")
        (better, one), (worse, other) = map(_mean_and_variance, sides)
        return cls(better, worse, one, other)

    @classmethod
    def symmetric(
        cls, preference: Sequence[float] | Array, clusters: Sequence[str] | None = None
    ) -> Calibration:
        """From pairs in which only the better answer is known: the judge's preference for it (n,).
        It is taken to err as often against either answer. clusters (n,): the prompt of each."""
        accuracy, variance = _mean_and_variance(checked(preference))
        variance = max(variance, (win_rate(preference, clusters).error or 0.0) ** 2)
        return cls(accuracy, 1 - accuracy, variance, variance, -variance)


def _mean_and_variance(values: Array) -> tuple[float, float]:
    """Mean, and the variance of that mean with one value of 0 and one of 1 added (Agresti and
    Coull 1998): a judge that was right ten times of ten is not known to be always right."""
    wider = np.append(values, [0.0, 1.0])
    return float(values.mean()), float(wider.var()) / len(wider)


@dataclass(frozen=True)
class Corrected:
    """The win rate that people would have given. low, high: 0 and 1 where the judge cannot be told
    from a coin, and value then None."""

    value: float | None
    low: float
    high: float


def corrected(
    rate: Rate,
    calibration: Calibration,
    again: Repeatability | None = None,
    level: float = 0.95,
) -> Corrected:
    """The rate that people would have given, and its interval over both samples.

    E judged = rate * when_better + (1 - rate) * when_worse is linear in the rate, so the values
    that the data do not reject are the solutions of a quadratic inequality (Fieller 1954). again:
    the calibration and the judging are two sessions of one judge, so their difference counts.
    ValueError: a rate without a standard error.
    """
    if rate.error is None:
        raise ValueError("a rate without a standard error has no interval")
    z2, c = z_of(level) ** 2, calibration
    spread = rate.error**2 + (again.variance if again else 0.0)
    over, apart = rate.value - c.when_worse, c.when_better - c.when_worse
    square = apart**2 - z2 * (c.variance_better + c.variance_worse - 2 * c.covariance)
    linear = -2 * over * apart - z2 * 2 * (c.covariance - c.variance_worse)
    constant = over**2 - z2 * (spread + c.variance_worse)
    if square <= 0 or apart <= 0:
        return Corrected(None, 0.0, 1.0)
    root = math.sqrt(max(0.0, linear**2 - 4 * square * constant))
    low, high = ((-linear + sign * root) / (2 * square) for sign in (-1, 1))
    value, low, high = (min(1.0, max(0.0, v)) for v in (over / apart, low, high))
    return Corrected(value, low, high)
