"""The mean over seeds that all answer the same items: both were drawn, so both count.

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
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv, ndtr

from tiebreak_analysis.statistics.sample import Interval, Sample, check_level, mean_interval

ROUNDING = 1e-12  # a standard error this far below the mean is rounding, not spread


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
    seeds = num_items * np.square(seed_means[..., 0] - mean[..., None]).sum(-1)
    items = num_seeds * np.square(item_means[..., 0, :] - mean[..., None]).sum(-1)
    rest = np.square(values - seed_means - item_means + mean[..., None, None]).sum((-2, -1))
    return Crossed(
        mean,
        seeds / (num_seeds - 1),
        items / (num_items - 1),
        rest / ((num_seeds - 1) * (num_items - 1)),
        num_seeds,
        num_items,
    )


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
    error, weight = _errors(c)

    return _quantile(error, weight, 1 - level)


def _quantile(error: np.ndarray, weight: np.ndarray, chance: float) -> float:
    """The distance that is exceeded with this chance, either side; by Newton's method.

    The chance falls with the distance and is convex, so the steps from 0 never overshoot.
    """
    distance = 0.0
    for _ in range(200):
        at = distance / error
        over = 2 * float((ndtr(-at) * weight).sum()) - chance
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
    """Mean of a sample and its interval: over seeds, and over items too where there are some.

    n is the number of seeds. One seed: no interval, since nothing tells what another seed would
    have given. Student's t for one value per seed; see the head of this file for both. ValueError:
    a level outside (0, 1).
    """
    check_level(level)
    seeds, items = len(sample.seeds), len(sample.items)
    if items < 2:
        return mean_interval([float(value) for value in sample.values.ravel()], level)
    if seeds == 1:
        return Interval(sample.mean, None, None, 1)
    half = half_width(crossed(sample.values), level)
    return Interval(sample.mean, sample.mean - half, sample.mean + half, seeds)


def item_interval(values_I: np.ndarray, level: float = 0.95) -> Interval:
    """Mean over the items (I,) of one fixed model and its Student t interval; n counts items.

    It says how far other prompts of the kind would move this model's mean, and nothing about
    training again. ValueError: not one axis, empty, a value not finite, a level outside (0, 1).
    """
    if np.ndim(values_I) != 1:
        raise ValueError(f"values must have one axis, the items: shape {np.shape(values_I)}")
    return mean_interval([float(value) for value in values_I], level)


@lru_cache(maxsize=64)
def _chi_square(df: int, num_nodes: int, power: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (num_nodes,) of the mean over chi^2 with `df` degrees of freedom.

    Gauss-Legendre in u, where u ** power is the lower tail: nodes crowd where chi^2 is near zero,
    since small p-values come from there. Relative error of Student's t tail at p = 1e-4: 1e-5.
    """
    node, weight = np.polynomial.legendre.leggauss(num_nodes)
    u = (node + 1) / 2
    return 2 * gammaincinv(df / 2, u**power), weight / 2 * power * u ** (power - 1)
