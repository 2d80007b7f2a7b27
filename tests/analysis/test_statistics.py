from __future__ import annotations

import math

import pytest

from tiebreak_analysis.statistics import Interval, mean_interval

# t quantiles at 0.975 from printed tables, by degrees of freedom.
T_975 = {1: 12.7062, 2: 4.30265, 4: 2.77645, 9: 2.26216}


def test_interval_by_hand():
    """1, 2, 3, 4, 5: mean 3, s = sqrt(2.5), half width 2.77645 * sqrt(2.5 / 5) = 1.96324."""
    found = mean_interval([1, 2, 3, 4, 5])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.half_width == pytest.approx(1.96324, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((1.03676, 4.96324), abs=1e-5)


@pytest.mark.parametrize("df", T_975)
def test_quantiles(df: int):
    values = [0.0, 2.0] * ((df + 1) // 2) + [1.0] * ((df + 1) % 2)
    n = df + 1
    s = math.sqrt(sum((v - 1) ** 2 for v in values) / (n - 1))
    assert mean_interval(values).half_width == pytest.approx(T_975[df] * s / math.sqrt(n), rel=1e-5)


def test_level_widens():
    """90 %, 2 degrees of freedom: t = 2.91999; s = 1, n = 3."""
    assert mean_interval([1, 2, 3], level=0.9).half_width == pytest.approx(
        2.91999 / math.sqrt(3), rel=1e-5
    )


def test_one_value_has_no_interval():
    found = mean_interval([0.25])
    assert found == Interval(0.25, None, None, 1)
    assert found.half_width is None


def test_equal_values_have_no_width():
    """13.2 three times is 13.2: rounding in the sum must not make an interval."""
    assert mean_interval([13.2] * 3) == Interval(13.2, 13.2, 13.2, 3)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_not_a_sample(values: list[float]):
    with pytest.raises(ValueError, match="values must be"):
        mean_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_not_a_level(level: float):
    with pytest.raises(ValueError, match="level"):
        mean_interval([1.0, 2.0], level)
