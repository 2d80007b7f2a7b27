"""What may be said from a sample: pure functions whose normal result is an interval.

`docs/statistics.md` says which of them a table uses and why. Seeds that all answer the same items:
both were drawn, so both count.

    value = mean + seed + item + rest,     variances  s_S, s_I, s_E
    Var(mean over S seeds, I items) = s_S / S + s_I / I + s_E / (S I)

Student's t over seeds leaves out s_I / I, Student's t over items leaves out s_S / S. The mean
squares of the two-way table estimate what is needed (Cornfield and Tukey 1956, "Average values of
mean squares in factorials"):

    E MS_S = I s_S + s_E,   E MS_I = S s_I + s_E,   E MS_E = s_E
    Var(mean) = (E MS_S + (E MS_I - E MS_E)) / (S I)

MS_S has S-1 degrees of freedom: two, with three seeds. Satterthwaite's (1946) approximation takes
a chance small MS_S for a small s_S and then claims many degrees of freedom; at the small levels
that Holm's correction asks for it errs up to fifty times too often (`benchmarks/verdicts.py`). So
the uncertainty of both parts is carried through instead, as Behrens (1929) and Fisher (1935) do
for two means and Weerahandi (1993) for variance components: in

    T = (sample mean - mean) / sqrt(V),    V = (max(SS_S / W_S, MS_E) + max(SS_I / W_I - MS_E, 0))
                                               / (S I),    W ~ chi^2 with S-1 and I-1 degrees

the chance of a larger |T| is averaged over W_S and W_I. A component of variance is not negative,
which is what the two maxima say. With no item variance this is Student's t over seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

ROUNDING = 1e-12  # a standard error this far below the mean is rounding, not spread
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


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Mean of `values` (n,), one per seed or one per item, and the Student t interval of that mean.

    mean +- t(n-1, (1+level)/2) * s / sqrt(n), with s the sample standard deviation (n-1).
    Source: Student (1908), "The probable error of a mean". It assumes values that are independent
    and roughly normal. Over seeds it says nothing about the choice of test prompts (`interval`
    does), over the items of one model nothing about training again. ValueError: no values, one that
    is not finite, a level outside (0, 1).
    """
    values = [float(value) for value in values]
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


@dataclass(frozen=True, eq=False)
class Crossed:
    """Mean and mean squares of tables of values; every array has the shape of the leading axes."""

    mean: np.ndarray
    of_seeds: np.ndarray
    of_items: np.ndarray
    of_rest: np.ndarray
    num_seeds: int
    num_items: int


def crossed(values: np.ndarray) -> Crossed:
    """The mean squares of `values` (..., seeds, items), two or more of each.

    Cornfield and Tukey (1956), two-way crossed layout with one value per cell. ValueError: fewer.
    """
    num_seeds, num_items = values.shape[-2:]
    if num_seeds < 2 or num_items < 2:
        raise ValueError(f"two seeds and two items are needed: shape {values.shape}")
    mean = values.mean((-2, -1))
    seed_means = values.mean(-1, keepdims=True)
    item_means = values.mean(-2, keepdims=True)
    seeds = num_items * np.square(seed_means[..., 0] - mean[..., None]).sum(-1) / (num_seeds - 1)
    items = num_seeds * np.square(item_means[..., 0, :] - mean[..., None]).sum(-1) / (num_items - 1)
    rest = np.square(values - seed_means - item_means + mean[..., None, None]).sum((-2, -1))
    rest /= (num_seeds - 1) * (num_items - 1)
    return Crossed(mean, seeds, items, rest, num_seeds, num_items)


def tail(c: Crossed, distance: np.ndarray) -> np.ndarray:
    """The chance that a sample mean lies at least `distance` from the true one, either side.

    `distance`: the shape of `c.mean`, not negative. NaN where the values have no spread at all.
    Behrens-Fisher on the two-way table; see the head of this file. It holds 1536 numbers per table.
    """
    error, weight = _errors(c)
    # a sum and no matrix product, whose last bit depends on the number of threads
    with np.errstate(divide="ignore", invalid="ignore"):  # no error: NaN, below
        chance = 2 * (ndtr(-distance[..., None] / error) * weight).sum(-1)
    return np.where(_spread(c) > ROUNDING * np.abs(c.mean), chance, np.nan)


def p_value(c: Crossed) -> np.ndarray:
    """Two-sided p of "the true mean is zero"; 1 where all values are zero, NaN without spread."""
    return np.where(c.mean == 0, 1.0, tail(c, np.abs(c.mean)))


def half_width(c: Crossed, level: float) -> float:
    """Half width of the interval at `level` for one table; 0 where the values have no spread."""
    check_level(level)
    if _spread(c) <= ROUNDING * np.abs(c.mean):
        return 0.0
    return _distance(*_errors(c), level)


def half_width_of_two(known: float, squares: float, df: int, chance: float, level: float) -> float:
    """Half width of the interval of an estimate whose error has two parts: one of variance `known`,
    and one that `squares`, a sum of squares with `df` degrees of freedom, tells of, less `chance`.

    The chance of a larger error is averaged over squares / W - chance, W ~ chi^2 (`df`), as in the
    head of this file; a variance is not negative. 0 where there is no variance at all.
    """
    check_level(level)
    chi_W, weight_W = _chi_square(df, 64, 6)
    error = np.sqrt(known + np.maximum(squares / chi_W - chance, 0))
    return _distance(error, weight_W, level) if error.min() > 0 else 0.0


def _distance(error: np.ndarray, weight: np.ndarray, level: float) -> float:
    """What an error that is normal with one of these standard errors (nodes,), each with its
    weight, exceeds with the chance 1 - level."""
    distance = 0.0
    for _ in range(200):  # Newton's method: the chance is convex, so no step from 0 overshoots
        at = distance / error
        over = 2 * float((ndtr(-at) * weight).sum()) - (1 - level)
        slope = 2 * float((np.exp(-at * at / 2) / error * weight).sum()) / math.sqrt(2 * math.pi)
        step = over / slope
        distance += step
        if step <= 1e-14 * distance:
            return distance
    raise AssertionError("Newton's method on a convex function converges")


def _errors(c: Crossed) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors of the mean (..., nodes) that the data allow, and their weights (nodes,)."""
    seed_W, seed_weight_W = _chi_square(c.num_seeds - 1, 64, 6)
    item_U, item_weight_U = _chi_square(c.num_items - 1, 24, 3)
    rest = np.asarray(c.of_rest)[..., None]
    seeds = np.maximum((c.num_seeds - 1) * np.asarray(c.of_seeds)[..., None] / seed_W, rest)
    items = np.maximum((c.num_items - 1) * np.asarray(c.of_items)[..., None] / item_U - rest, 0)
    both = (seeds[..., :, None] + items[..., None, :]) / (c.num_seeds * c.num_items)
    nodes = len(seed_W) * len(item_U)
    weight = np.outer(seed_weight_W, item_weight_U).reshape(nodes)
    return np.sqrt(both).reshape(*both.shape[:-2], nodes), weight


def _spread(c: Crossed) -> np.ndarray:
    """A standard error that is zero only where every value of the table is the same."""
    return np.sqrt((c.of_seeds + c.of_items + c.of_rest) / (c.num_seeds * c.num_items))


def interval(sample: Sample, level: float = 0.95) -> Interval:
    """Mean of a sample and its interval over seeds (n of them), and over items where it has some.

    One seed: no interval, since nothing tells what another seed would have given. Student's t for
    one value per seed; see the head of this file for both. ValueError: a level outside (0, 1).
    """
    check_level(level)
    seeds, items = len(sample.seeds), len(sample.items)
    if items < 2:
        return mean_interval(sample.values.ravel(), level)
    if seeds == 1:
        return Interval(sample.mean, None, None, 1)
    half = half_width(crossed(sample.values), level)
    return Interval(sample.mean, sample.mean - half, sample.mean + half, seeds)


@lru_cache(maxsize=64)
def _chi_square(df: int, num_nodes: int, power: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (num_nodes,) of the mean over chi^2 with `df` degrees of freedom.

    Gauss-Legendre in u, where u ** power is the lower tail: nodes crowd where chi^2 is near zero,
    since small p-values come from there. Relative error of Student's t tail at p = 1e-4: 1e-5.
    """
    node, weight = np.polynomial.legendre.leggauss(num_nodes)
    u = (node + 1) / 2
    return 2 * gammaincinv(df / 2, u**power), weight / 2 * power * u ** (power - 1)


@dataclass(frozen=True)
class Difference:
    """a minus b, with its interval and the two-sided p of "there is none", not yet corrected; None
    with one common seed, or where all differences are the same (no spread to judge them by)."""

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
    two-way table (`crossed`); with one value per seed by Student's paired t (1908). ValueError:
    nothing in common, items on one side only, a level outside (0, 1).
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
        found = mean_interval(apart.ravel(), level)
        error = float(apart.std(ddof=1)) / len(seeds) ** 0.5
        if error <= ROUNDING * abs(found.mean):
            return Difference(found.mean, None, None, None, *counts)
        p = 2 * float(stdtr(len(seeds) - 1, -abs(found.mean) / error))
        return Difference(found.mean, found.low, found.high, p, *counts)
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


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the same order; reject where one is below 1 - level. One family is
    everything that one table may declare.

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
