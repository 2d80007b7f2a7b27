"""Differences between methods, and many of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tiebreak_analysis.statistics import Difference, Sample, difference, holm, interval


def of(*values: float, first_seed: int = 1) -> Sample:
    seeds = tuple(range(first_seed, first_seed + len(values)))
    return Sample(seeds, (), np.array(values, dtype=float))


def test_one_value_per_seed_is_the_paired_t_test():
    a, b = (0.71, 0.75, 0.73, 0.78), (0.70, 0.71, 0.74, 0.72)
    found = difference(of(*a), of(*b))
    expected = ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.num_seeds, found.num_items) == (4, 0)


def test_only_common_seeds_and_items_are_compared_in_whatever_order():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 5))
    a = Sample((1, 2, 3), tuple("abcde"), values)
    shift = np.array([[0.1], [0.3]])
    b = Sample((3, 9, 2), tuple("edcx"), np.zeros((3, 4)))
    b.values[np.ix_([2, 0], [2, 1, 0])] = values[1:, 2:] - shift
    found = difference(a, b)
    assert (found.num_seeds, found.num_items) == (2, 3)
    assert found.mean == pytest.approx(0.2)


def test_what_items_share_cancels():
    rng = np.random.default_rng(1)
    item = rng.normal(0, 1, 60)
    a, b = (
        Sample((1, 2, 3), tuple(map(str, range(60))), item + rng.normal(at, 0.05, (3, 60)))
        for at in (0.1, 0.0)
    )
    width, apart = interval(a).half_width, difference(a, b)
    assert width is not None and width > 0.2
    assert apart.low is not None and apart.low > 0.05
    assert apart.p is not None and apart.p < 0.01


def test_interval_and_p_agree():
    """The interval at level 1 - p ends at zero."""
    rng = np.random.default_rng(2)
    names = tuple(map(str, range(20)))
    a, b = (Sample((1, 2, 3), names, rng.normal(at, 1, (3, 20))) for at in (0.4, 0))
    found = difference(a, b)
    assert found.p is not None
    assert difference(a, b, level=1 - found.p).low == pytest.approx(0, abs=1e-6)


def test_one_seed_tests_nothing():
    assert difference(of(0.3), of(0.1)) == Difference(pytest.approx(0.2), None, None, None, 1, 0)


def test_the_same_models_do_not_differ():
    assert difference(of(1, 2), of(1, 2)) == Difference(0.0, 0.0, 0.0, 1.0, 2, 0)


@pytest.mark.parametrize("items", [(), ("a", "b")])
def test_without_spread_there_is_no_p(items: tuple[str, ...]):
    """0.004 in each of three seeds: rounding to 1/256, and no proof."""
    shape = (3, 2) if items else (3,)
    a, b = (Sample((1, 2, 3), items, np.full(shape, at)) for at in (0.836, 0.832))
    found = difference(a, b)
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.mean == pytest.approx(0.004)


def test_nothing_in_common():
    with pytest.raises(ValueError, match="no seed in common"):
        difference(of(1, 2), of(1, 2, first_seed=7))
    with pytest.raises(ValueError, match="no item in common"):
        difference(Sample((1,), ("a",), np.ones((1, 1))), Sample((1,), ("b",), np.ones((1, 1))))
    with pytest.raises(ValueError, match="not comparable"):
        difference(Sample((1,), ("a",), np.ones((1, 1))), of(1))


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last may not fall below the third."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_not_tested():
    assert holm([None, 0.02, 0.9]) == [None, 0.04, 0.9]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.5])
