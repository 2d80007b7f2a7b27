"""Intervals of a mean over seeds that all answer the same items."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from tiebreak_analysis.statistics import (
    Interval,
    Sample,
    crossed,
    half_width,
    interval,
    mean_interval,
    p_value,
)


def sample(values: np.ndarray) -> Sample:
    items = tuple(f"q{i}" for i in range(values.shape[1])) if values.ndim == 2 else ()
    return Sample(tuple(range(len(values))), items, values)


def test_mean_squares_by_hand():
    """Rows 1 2 3 and 3 4 8: means 2 and 5, of columns 2, 3, 5.5, of all 3.5.

    Seeds 3 (1.5^2 + 1.5^2) / 1 = 13.5; items 2 (1.5^2 + 0.5^2 + 2^2) / 2 = 6.5; the rest is
    0.5 0.5 -1 and its negative: 3 / 2 = 1.5.
    """
    found = crossed(np.array([[1.0, 2, 3], [3, 4, 8]]))
    assert float(found.mean) == 3.5
    assert (found.of_seeds, found.of_items, found.of_rest) == pytest.approx((13.5, 6.5, 1.5))


def test_many_tables_at_once_are_the_same_as_one_by_one():
    values = np.random.default_rng(0).normal(size=(4, 3, 20))
    together = p_value(crossed(values))
    assert together == pytest.approx([float(p_value(crossed(one))) for one in values], rel=1e-12)


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 12])
@pytest.mark.parametrize("p", [0.3, 0.05, 0.001, 1e-4])
def test_without_item_variance_it_is_student_over_seeds(num_seeds: int, p: float):
    """Every item of a seed the same; the mean is put where Student's t gives this p."""
    of_seed = np.random.default_rng(1).normal(size=num_seeds)
    error = of_seed.std(ddof=1) / math.sqrt(num_seeds)
    of_seed += -stdtrit(num_seeds - 1, p / 2) * error - of_seed.mean()
    values = np.repeat(of_seed[:, None], 8, axis=1)
    assert float(p_value(crossed(values))) == pytest.approx(p, rel=1e-3)
    expected = mean_interval(of_seed.tolist(), 0.9)
    found = interval(sample(values), 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-3)
    assert found.n == num_seeds


def test_without_seed_variance_it_is_student_over_items():
    of_item = np.random.default_rng(2).normal(0.3, 1, size=40)
    values = np.repeat(of_item[None], 3, axis=0)
    t = of_item.mean() / (of_item.std(ddof=1) / math.sqrt(40))
    assert float(p_value(crossed(values))) == pytest.approx(2 * stdtr(39, -t), rel=1e-3)
    assert half_width(crossed(values), 0.95) == pytest.approx(
        mean_interval(of_item).half_width, rel=1e-3
    )


def test_tail_is_the_one_of_drawn_errors():
    """The same average over W_S and W_I by plain simulation."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.15, 0.2, (4, 1)) + rng.normal(0, 0.5, 30) + rng.normal(0, 0.3, (4, 30))
    c = crossed(values)
    seeds = np.maximum(3 * c.of_seeds / rng.chisquare(3, 400_000), c.of_rest)
    items = np.maximum(29 * c.of_items / rng.chisquare(29, 400_000) - c.of_rest, 0)
    drawn = rng.normal(size=400_000) * np.sqrt((seeds + items) / 120)
    assert float(p_value(c)) == pytest.approx((np.abs(drawn) > abs(c.mean)).mean(), abs=0.003)


@pytest.mark.parametrize("variances", [(0.001, 0.1, 0.03), (0.0007, 0, 0.05), (0, 0.05, 0.05)])
@pytest.mark.parametrize("num_seeds", [3, 5])
def test_it_misses_no_more_often_than_it_says(variances: tuple, num_seeds: int):
    """At 5 % and at 0.1 %, where Satterthwaite's approximation misses ten times as often.

    Bounds: 4.5 standard errors above, with 4,000 tables.
    """
    seed, item, rest = (math.sqrt(v) for v in variances)
    rng = np.random.default_rng(4)
    shape = (4000, num_seeds, 16)
    values = rng.normal(0, rest, shape) + rng.normal(0, seed, (4000, num_seeds, 1))
    p = p_value(crossed(values + rng.normal(0, item, (4000, 1, 16))))
    for level in (0.05, 0.001):
        allowed = level + 4.5 * math.sqrt(level * (1 - level) / 4000)
        assert (p < level).mean() <= allowed


def test_seed_means_that_agree_by_chance_do_not_make_it_sure():
    """Four answers right of eight for every seed, though not the same ones: no p of zero."""
    values = np.zeros((3, 8))
    for seed in range(3):
        values[seed, seed : seed + 4] = 1
    found = interval(sample(values))
    assert found.low is not None and found.low < 0.4
    assert 0.001 < float(p_value(crossed(values)))


def test_items_widen_an_interval_over_seeds():
    rng = np.random.default_rng(5)
    values = rng.normal(size=30) + rng.normal(0, 0.01, (3, 30))
    naive = mean_interval([float(v) for v in values.mean(1)]).half_width
    found = interval(sample(values)).half_width
    assert naive is not None and found is not None and found > 10 * naive


def test_one_seed_has_no_interval_however_many_items():
    assert interval(sample(np.array([[0.0, 1.0, 1.0]]))) == Interval(2 / 3, None, None, 1)


def test_one_value_per_seed_is_student():
    assert interval(sample(np.array([1.0, 2, 3, 4, 5]))) == mean_interval([1, 2, 3, 4, 5])


def test_no_spread():
    values = np.full((3, 4), 0.1)
    assert interval(sample(values)).half_width == 0
    assert np.isnan(p_value(crossed(values)))
    assert float(p_value(crossed(0 * values))) == 1


def test_what_is_no_sample():
    with pytest.raises(ValueError, match=r"shape \(3,\).*need \(2,\)"):
        Sample((1, 2), (), np.zeros(3))
    with pytest.raises(ValueError, match="seed 1 is there 2 times"):
        Sample((1, 1), (), np.zeros(2))
    with pytest.raises(ValueError, match="item 'a' is there 2 times"):
        Sample((1,), ("a", "a"), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="not finite"):
        Sample((1,), (), np.array([np.nan]))
    with pytest.raises(ValueError, match="at least one seed"):
        Sample((), (), np.zeros(0))
    with pytest.raises(ValueError, match="two seeds and two items"):
        crossed(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="level"):
        interval(sample(np.zeros((1, 5))), 95)
