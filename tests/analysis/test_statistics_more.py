"""Bootstrap, ranks, probability of improvement, tuning budgets."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, trim_mean

from tiebreak_analysis.statistics import (
    bootstrap_interval,
    expected_best,
    friedman,
    interquartile_mean,
    item_interval,
    probability_of_improvement,
    rank,
    select,
)

VALUES = np.random.default_rng(0).gamma(2.0, size=50)


def test_a_seed_really_seeds():
    first = bootstrap_interval(VALUES, seed=1, num_resamples=500)
    np.random.seed(99)  # a global generator must not matter
    assert bootstrap_interval(VALUES, seed=1, num_resamples=500) == first
    assert bootstrap_interval(VALUES, seed=2, num_resamples=500) != first


def test_bootstrap_of_a_mean_is_near_student_and_leans_to_the_long_tail():
    found, student = bootstrap_interval(VALUES, seed=1), item_interval(VALUES)
    assert found.mean == pytest.approx(student.mean)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), rel=0.06)
    assert found.low is not None and found.high is not None
    assert found.high - found.mean > found.mean - found.low


def test_interquartile_mean():
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == 3.5
    assert interquartile_mean(VALUES) == pytest.approx(trim_mean(VALUES, 0.25))
    found = bootstrap_interval(VALUES, seed=1, statistic="iqm", num_resamples=500)
    assert found.mean == pytest.approx(trim_mean(VALUES, 0.25))
    assert found.low is not None and found.high is not None
    assert found.low < found.mean < found.high


def test_what_cannot_be_resampled():
    assert bootstrap_interval(np.full(12, 0.5), seed=0).half_width == 0
    with pytest.raises(ValueError, match="3 values are too few"):
        bootstrap_interval(np.arange(3.0), seed=0)
    with pytest.raises(ValueError, match="mean or iqm"):
        bootstrap_interval(VALUES, seed=0, statistic="median")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="finite"):
        interquartile_mean(np.array([np.nan]))


def test_ranks_share_places():
    values = np.array([[0.3, 0.9, 0.3], [1, 2, 3]])
    assert rank(values).tolist() == [[2.5, 1, 2.5], [3, 2, 1]]
    assert rank(values, higher_is_better=False).tolist() == [[1.5, 3, 1.5], [1, 2, 3]]


def test_friedman_and_the_critical_difference():
    """Demsar (2006) gives 1.25 for four methods on 14 data sets (q 2.569, section 3.2.2)."""
    values = np.random.default_rng(1).normal(size=(14, 4)) + [0, 0, 0, 2]
    found = friedman(("a", "b", "c", "d"), values)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.names[0] == "d"
    chi = friedmanchisquare(*values.T).statistic
    f = 13 * chi / (14 * 3 - chi)
    from scipy.stats import f as fisher

    assert found.p == pytest.approx(fisher.sf(f, 3, 39))
    assert sum(found.mean_ranks) == pytest.approx(10)


def test_friedman_with_ties_is_scipys():
    values = np.random.default_rng(2).integers(0, 3, size=(20, 3)).astype(float)
    chi = friedmanchisquare(*values.T).statistic
    from scipy.stats import f as fisher

    assert friedman("abc", values).p == pytest.approx(fisher.sf(19 * chi / (40 - chi), 2, 38))


def test_groups_of_the_diagram():
    """Always in the order a b c d: ranks 1 2 3 4, and four blocks leave neighbours 2.3 apart."""
    found = friedman("abcd", np.tile([4.0, 3, 2, 1], (4, 1)))
    assert found.critical_difference == pytest.approx(2.345, abs=0.005)
    assert found.groups == (("a", "b", "c"), ("b", "c", "d"))
    assert found.p == 0
    equal = friedman("abc", np.ones((5, 3)))
    assert (equal.p, equal.groups) == (1.0, (("a", "b", "c"),))
    with pytest.raises(ValueError, match="three or more methods"):
        friedman("ab", np.ones((5, 2)))


def test_probability_of_improvement():
    """1 3 5 against 2 3: wins 0, 1 1/2 and 2 of 6."""
    found = probability_of_improvement([(np.array([1.0, 3, 5]), np.array([2.0, 3]))])
    assert found.mean == pytest.approx(3.5 / 6)
    other = probability_of_improvement([(np.array([2.0, 3]), np.array([1.0, 3, 5]))])
    assert found.low == pytest.approx(1 - (other.high or 0))
    assert found.high == pytest.approx(1 - (other.low or 0))


def test_three_wins_of_three_are_no_certainty():
    task = (np.array([3.0, 4, 5]), np.array([0.0, 1, 2]))
    few = probability_of_improvement([task])
    many = probability_of_improvement([task] * 4)
    assert (few.mean, few.high) == (1.0, 1.0)
    assert few.low is not None and few.low < 0.55
    assert many.low is not None and many.low > 0.75
    with pytest.raises(ValueError, match="at least one value"):
        probability_of_improvement([])


@pytest.mark.parametrize("num_runs", [3, 5, 10])
def test_probability_of_improvement_covers(num_runs: int):
    """Two methods that are the same: 0.5 lies inside in 95 % of 1,000 trials; bound 3.5 errors."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        a, b = rng.normal(size=(2, num_runs))
        found = probability_of_improvement([(a, b)])
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.5 <= found.high
    assert covered >= 925


@pytest.mark.parametrize("budget", [1, 2, 3, 4])
def test_expected_best_is_the_mean_over_all_draws(budget: int):
    scores = [0.4, 0.7, 0.2, 0.7]
    drawn = [max(chosen) for chosen in combinations(scores, budget)]
    again = [max(chosen) for chosen in product(scores, repeat=budget)]
    assert expected_best(scores, budget) == pytest.approx(np.mean(drawn))
    assert expected_best(scores, budget, with_replacement=True) == pytest.approx(np.mean(again))
    losses = [-score for score in scores]
    assert expected_best(losses, budget, higher_is_better=False) == pytest.approx(-np.mean(drawn))


def test_a_budget_nobody_had():
    with pytest.raises(ValueError, match="budget of 3"):
        expected_best([0.1, 0.2], 3)
    with pytest.raises(ValueError, match="one or more"):
        expected_best([], 1)


def test_selection_looks_at_validation_alone():
    found = select({"a": 0.5, "b": 0.7, "c": 0.7}, {"a": 0.9, "b": 0.6, "c": 0.8})
    assert (found.name, found.validation, found.test) == ("b", 0.7, 0.6)
    assert select({"a": 0.5, "b": 0.7}, {"a": 1.0}, higher_is_better=False).name == "a"
    with pytest.raises(ValueError, match="no test score"):
        select({"a": 0.5}, {})
    with pytest.raises(ValueError, match="one or more"):
        select({}, {})
