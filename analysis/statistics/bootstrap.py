"""Bootstrap intervals: for a statistic without a formula, and for items far from normal."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tiebreak_analysis.statistics.interval import Interval, check_level

MIN_VALUES = 10
"""Below this the bootstrap knows too few values: BCa covers far less than it claims."""


def interquartile_mean(values: np.ndarray) -> float:
    """Mean of the middle half of `values` (n,), as many cut on either side as n / 4 rounded down.

    Less moved by one wild seed than the mean, and steadier than the median. Source: Agarwal et al.
    2021, arXiv 2108.13264, section 4.3. ValueError: no values.
    """
    return float(_interquartile_mean(_one_axis(values), axis=-1))


def bootstrap_interval(
    values: np.ndarray,
    *,
    seed: int,
    statistic: Literal["mean", "iqm"] = "mean",
    level: float = 0.95,
    num_resamples: int = 9999,
) -> Interval:
    """BCa bootstrap interval of the mean or interquartile mean of independent `values` (n,).

    Values may be seeds (ten or more), items of one model, or, for two models on the same items,
    their differences: that is the paired bootstrap. `mean` of the result is the statistic. The
    same `seed` gives the same interval. Source: Efron (1987), "Better bootstrap confidence
    intervals"; scipy.stats.bootstrap. ValueError: fewer than 10 values (Student's t is then the
    better answer, `mean_interval`), one not finite, an unknown statistic, a level outside (0, 1).
    """
    from scipy.stats import bootstrap

    check_level(level)
    values = _one_axis(values)
    if len(values) < MIN_VALUES:
        raise ValueError(f"{len(values)} values are too few to resample: {MIN_VALUES} are needed")
    if statistic not in ("mean", "iqm"):
        raise ValueError(f"statistic must be mean or iqm: {statistic!r}")
    of = np.mean if statistic == "mean" else _interquartile_mean
    centre = float(of(values, axis=-1))
    if np.ptp(values) == 0:
        return Interval(centre, centre, centre, len(values))
    found = bootstrap(
        (values,),
        of,
        n_resamples=num_resamples,
        batch=1000,
        vectorized=True,
        axis=-1,
        confidence_level=level,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(centre, float(found.low), float(found.high), len(values))


def _interquartile_mean(values: np.ndarray, axis: int) -> np.ndarray:
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, -1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def _one_axis(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("values must be one axis of one or more finite numbers")
    return values
