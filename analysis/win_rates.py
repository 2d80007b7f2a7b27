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
  the first is in a standard error over questions. The second is known from as many differences as
  there are sessions, which the interval of `corrected` takes into account.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, ndtri

from tiebreak_analysis.statistics import check_level, half_width_of_two

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


def ratio_terms(own: Array, other: Array) -> Array:
    """Style of both answers (n, k), length first and then counts of marks, as the terms (n, k) that
    Arena-Hard-Auto's style control has: the difference of the lengths over their sum, and of the
    marks for each character over their sum plus one. 0 where both are alike. They are divided by
    their standard deviations, and not centred: what is held equal is the style of the two answers,
    not the mean style of all models."""
    one, two = np.asarray(own, float), np.asarray(other, float)
    lengths = [np.maximum(side[:, :1], 1.0) for side in (one, two)]
    dense = [side[:, 1:] / length for side, length in zip((one, two), lengths, strict=True)]
    apart = (one[:, :1] - two[:, :1]) / (lengths[0] + lengths[1])
    terms = np.hstack([apart, (dense[0] - dense[1]) / (dense[0] + dense[1] + 1)])
    spread = terms.std(0)
    return np.divide(terms, spread, out=np.zeros_like(terms), where=spread > 0)


def weighted(
    wins: Sequence[float] | Array,
    weights: Sequence[float] | Array,
    values: Sequence[float] | Array,
    counts: Sequence[float] | Array,
) -> Array:
    """Items (m,) of the weighted rate of `wins` (n,): rate + count * (value - rate) / mean weight.

    With `values` and `counts` the wins and weights themselves, their mean is the rate
    sum(w y) / sum(w) and their spread gives its standard error, by the delta method of a ratio
    (Cochran 1977, "Sampling techniques", chapter 6); with those of another session of the judge
    they differ from the first ones as the two rates do. ValueError: as `win_rate`.
    """
    y, w = checked(wins), np.asarray(weights, float)
    rate = float((w * y).sum() / w.sum())
    return rate + np.asarray(counts, float) * (np.asarray(values, float) - rate) / w.mean()


@dataclass(frozen=True, eq=False)
class Controlled:
    """A rate with something held equal. items (n,): their mean is the rate and their spread its
    standard error, so that paired tests and intervals follow as for any other column."""

    rate: Rate
    items: Array
    coefficients: Array
    """In logits: of the model, of what is kept, of what is held equal."""


def controlled(
    wins: Sequence[float] | Array,
    removed: Array,
    kept: Array | None = None,
    weights: Sequence[float] | Array | None = None,
) -> Controlled:
    """The win rate had the columns of `removed` (n,) or (n, k) been 0 for every question.

    logit P(win) = model + kept + removed, fitted to all questions; then P is averaged over them
    with `removed` at 0. kept (n, j): what stays, such as how hard the instruction is. weights (n,):
    how much each question counts in the fit. Each question is given the rate plus its influence on
    it (Hampel 1974), which is what the delta method sums: the uncertainty of the coefficients is in
    the spread of `items`. ValueError: as `win_rate`.
    """
    y = checked(wins)
    n = len(y)
    hold, out = (np.zeros((n, 0)) if part is None else np.asarray(part, float).reshape(n, -1)
                 for part in (kept, removed))  # fmt: skip
    count = np.ones(n) if weights is None else np.asarray(weights, float)
    design = np.hstack([np.ones((n, 1)), hold, out])
    equal = np.hstack([np.ones((n, 1)), hold, np.zeros_like(out)])
    found = _logistic(design, y, count)
    fitted, level = expit(design @ found), expit(equal @ found)
    information = _information(design, fitted, count)
    slope = ((level * (1 - level))[:, None] * equal).mean(0)
    influence = n * (design * (count * (y - fitted))[:, None]) @ np.linalg.solve(information, slope)
    value = float(level.mean())
    items = level + influence
    items += value - items.mean()  # the prior pulls the scores a little off zero
    error = float(items.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Controlled(Rate(value, error, n), items, found)


def _information(design: Array, fitted: Array, count: Array) -> Array:
    curvature = (design * (count * fitted * (1 - fitted))[:, None]).T @ design
    return curvature + np.eye(design.shape[1]) / PRIOR**2


def _logistic(design: Array, y: Array, count: Array) -> Array:
    """Coefficients (k,) by Newton's method with halved steps."""

    def loss(w: Array) -> float:
        score = design @ w
        fit = (count * (np.logaddexp(0, score) - y * score)).sum()
        return float(fit + (w @ w) / (2 * PRIOR**2))

    weights = np.zeros(design.shape[1])
    for _ in range(100):
        fitted = expit(design @ weights)
        gradient = design.T @ (count * (fitted - y)) + weights / PRIOR**2
        step = np.linalg.solve(_information(design, fitted, count), gradient)
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

    questions  judged again, in each session
    flips      share of them whose preference changed sides, or to or from a tie
    shift      mean of the later judgements minus mean of the first: all questions together
    sessions   further ones: the degrees of freedom of `squares`
    squares    sum of squares whose mean over `sessions` estimates the variance of the difference
               between two sessions, what so few questions give by chance included
    chance     the variance of that difference where there is no shift
    """

    questions: int
    flips: float
    shift: float
    sessions: int
    squares: float
    chance: float

    @classmethod
    def pooled(cls, several: Sequence[Repeatability]) -> Repeatability:
        """Of several models that one judge has judged, each in sessions of its own. ValueError:
        none."""
        if not several:
            raise ValueError("no repetition to pool")
        sessions = sum(one.sessions for one in several)

        def mean(of: str) -> float:
            return sum(one.sessions * getattr(one, of) for one in several) / sessions

        return cls(
            sum(one.questions for one in several), mean("flips"), mean("shift"), sessions,
            sum(one.squares for one in several), mean("chance"),
        )  # fmt: skip

    @property
    def variance(self) -> float:
        """Of the difference between two sessions, without what is chance; not below 0."""
        return max(self.squares / self.sessions - self.chance, 0.0)

    def beside(self, variance: float, level: float = 0.95) -> float:
        """The variance to add to `variance`, that of everything else, so that the normal interval
        of their sum is that of an estimate whose session shifts are known from `sessions` alone.

        With so few degrees of freedom a chance small sum of squares is usual, and Satterthwaite's
        (1946) approximation takes it for a small variance. As for seeds (`statistics`), its
        uncertainty is carried through instead (Behrens 1929, Fisher 1935; for variance components
        Weerahandi 1993): the chance of a larger error is averaged over squares / W - chance,
        W ~ chi^2 with `sessions` degrees of freedom, where a variance is not negative.
        """
        half = half_width_of_two(variance, self.squares, self.sessions, self.chance, level)
        return max((half / z_of(level)) ** 2 - variance, 0.0)


def repeatability(first: Sequence[float] | Array, *again: Sequence[float] | Array) -> Repeatability:
    """Of the same questions (m,), judged in a first session and in further ones. Items may lie
    outside of 0 and 1 (`weighted`). ValueError: no question, no further session, or not as many.

    Flips that go both ways cancel, and are in a standard error over questions already. What does
    not cancel is a shift of the whole session, which a standard error over questions does not see.
    """
    values = [np.asarray(one, dtype=float) for one in (first, *again)]
    sizes = {one.shape for one in values}
    if len(values) < 2 or len(sizes) > 1 or not values[0].size or not np.isfinite(values).all():
        raise ValueError(f"give the same questions in two sessions or more: {sorted(sizes)}")
    table = np.stack(values)  # (sessions, m)
    means, sessions, questions = table.mean(1), len(table) - 1, table.shape[1]
    within = table - table.mean(0) - (means - means.mean())[:, None]
    # Twice the variance of a session's mean: that of the difference of two.
    chance = 2 * float(np.square(within).sum()) / sessions / max(questions - 1, 1) / questions
    sides = np.sign(table - 0.5)
    return Repeatability(
        questions, float((sides[1:] != sides[0]).mean()), float((means[1:] - means[0]).mean()),
        sessions, 2 * float(np.square(means - means.mean()).sum()), chance,
    )  # fmt: skip


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
    the calibration and the judging are two sessions of one judge, so their difference counts, with
    as many degrees of freedom as it was seen in (`Repeatability.beside`). ValueError: a rate
    without a standard error.
    """
    if rate.error is None:
        raise ValueError("a rate without a standard error has no interval")
    z2, c = z_of(level) ** 2, calibration
    over, apart = rate.value - c.when_worse, c.when_better - c.when_worse
    of_both = c.variance_better + c.variance_worse - 2 * c.covariance
    square = apart**2 - z2 * of_both
    if square <= 0 or apart <= 0:
        return Corrected(None, 0.0, 1.0)
    share, spread = min(1.0, max(0.0, over / apart)), rate.error**2
    if again is not None:
        errors = share**2 * of_both + 2 * share * (c.covariance - c.variance_worse)
        spread += again.beside(spread + errors + c.variance_worse, level)
    linear = -2 * over * apart - z2 * 2 * (c.covariance - c.variance_worse)
    constant = over**2 - z2 * (spread + c.variance_worse)
    root = math.sqrt(max(0.0, linear**2 - 4 * square * constant))
    low, high = ((-linear + sign * root) / (2 * square) for sign in (-1, 1))
    value, low, high = (min(1.0, max(0.0, v)) for v in (over / apart, low, high))
    return Corrected(value, low, high)
