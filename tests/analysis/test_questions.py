"""What is said of fixed models over questions, against closed forms, enumeration and bootstraps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from tiebreak_analysis.questions import (
    MIN_QUESTIONS,
    _saddlepoint,
    average,
    by_subject,
    model_difference,
    sign_p,
    signal_to_noise,
)
from tiebreak_analysis.statistics import Sample, crossed, interval, mean_interval, p_value


def sample(values: np.ndarray) -> Sample:
    values = np.atleast_2d(np.asarray(values, float))
    seeds, items = values.shape
    return Sample(tuple(range(seeds)), tuple(f"q{at}" for at in range(items)), values)


def all_signs(apart: np.ndarray) -> float:
    signs = np.array(list(product((-1, 1), repeat=len(apart))))
    return float((np.abs(signs @ apart) >= abs(apart.sum()) - 1e-9).mean())


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (7, 1), (30, 14), (300, 240)])
def test_answers_of_0_and_1_are_mcnemars_exact_test(better: int, worse: int):
    apart = np.concatenate([np.ones(better), -np.ones(worse), np.zeros(50)])
    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_p(apart) == pytest.approx(expected, rel=1e-9)
    assert sign_p(-apart) == sign_p(apart)


def test_two_seeds_are_counted_out():
    apart = np.array([1, 1, 0.5, 0.5, -0.5, 1, 0.25, -0.25, 0.5, 1, -1, 0.5, 0, 0])
    assert sign_p(apart) == pytest.approx(all_signs(apart), rel=1e-9)


@pytest.mark.parametrize(("shift", "near"), [(0.0, 0.02), (0.3, 0.02), (0.8, 0.1), (2.0, 0.4)])
def test_other_values_by_saddlepoint(shift: float, near: float):
    """The last is one of eight choices in 262,144: no smooth formula gives those."""
    apart = np.random.default_rng(3).normal(shift, 1, 18)
    assert sign_p(apart) == pytest.approx(all_signs(apart), rel=near)
    assert sign_p(apart[:11]) == all_signs(apart[:11])


def test_the_saddlepoint_far_out_is_the_count():
    """p near 1e-12: what Holm's correction of a large table asks for."""
    apart = np.concatenate([np.full(150, 0.9), np.full(30, -1.1), np.full(40, 0.5)])
    exact = sign_p(np.rint(apart * 10) * 25)  # multiples of a quarter: counted out
    assert exact < 1e-12
    assert _saddlepoint(apart) == pytest.approx(exact, rel=0.15)


def test_the_interval_is_the_paired_bootstraps():
    rng = np.random.default_rng(5)
    a, b = (rng.random((2, 300)) < np.array([[0.7], [0.6]])).astype(float)
    found = model_difference(sample(a), sample(b))
    assert found is not None and found.low is not None and found.high is not None
    drawn = rng.integers(300, size=(8000, 300))
    low, high = np.percentile((a - b)[drawn].mean(1), [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)


def test_common_questions_alone_and_enough_of_them():
    a = Sample((1,), tuple(map(str, range(30))), np.ones((1, 30)))
    b = Sample((2,), tuple(map(str, range(18, 60))), np.zeros((1, 42)))
    found = model_difference(a, b)
    assert found is not None and (found.num_items, found.mean) == (12, 1.0)
    assert found.p == pytest.approx(2 * 0.5**12)
    few = Sample((2,), tuple(map(str, range(21, 60))), np.zeros((1, 39)))
    assert MIN_QUESTIONS == 10 and model_difference(a, few) is None


def test_subjects_keep_the_mean_and_widen_the_interval():
    """Questions of a subject are all right or all wrong: there are only as many as subjects."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(2, 20, 40)
    subjects = np.repeat(np.arange(40), sizes)
    values = (rng.random(40) < 0.5)[subjects].astype(float)
    grouped = by_subject(values, subjects)
    assert len(grouped) == 40 and grouped.mean() == pytest.approx(values.mean())
    narrow, wide = mean_interval(values).half_width, mean_interval(grouped).half_width
    assert narrow is not None and wide is not None and wide > 2 * narrow
    ratio = np.bincount(subjects, weights=values - values.mean()) / len(values)
    error = np.sqrt(40 / 39 * np.square(ratio).sum())  # Cochran (1977), 9A
    assert wide == pytest.approx(2.0227 * error, rel=1e-3)


def test_both_are_linear():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 60))
    subjects = rng.permutation(np.repeat(np.arange(12), 5))
    apart = by_subject(a, subjects) - by_subject(b, subjects)
    np.testing.assert_allclose(apart, by_subject(a - b, subjects))
    parts = [[("x", sample(one[:20])), ("y", sample(one[20:]))] for one in (a, b, a - b)]
    left, right, both = (average(part).values for part in parts)
    np.testing.assert_allclose(left - right, both)


def test_an_average_gives_each_part_one_weight_and_its_error():
    rng = np.random.default_rng(4)
    easy, hard = rng.normal(0.9, 0.1, (1, 400)), rng.normal(0.2, 0.3, (1, 50))
    found = average([("easy", sample(easy)), ("hard", sample(hard))])
    assert found.mean == pytest.approx((easy.mean() + hard.mean()) / 2)
    half = mean_interval(found.values[0]).half_width
    error = np.sqrt(easy.var(ddof=1) / 400 + hard.var(ddof=1) / 50) / 2
    assert half == pytest.approx(1.965 * error, rel=0.02)
    assert len(set(found.items)) == 450
    seeds = rng.normal(size=(3, 50))
    found = average([("x", sample(seeds)), ("y", sample(seeds[:, :9]))])
    np.testing.assert_allclose(found.values.mean(1), (seeds.mean(1) + seeds[:, :9].mean(1)) / 2)
    bare = Sample((0, 1, 2), (), np.array([1.0, 2.0, 3.0]))
    assert average([("x", sample(seeds)), ("z", bare)]).items == ()


def test_signal_to_noise_of_two_rows_is_their_t():
    rng = np.random.default_rng(6)
    shared = rng.normal(0, 3, 80)  # how hard each question is decides nothing
    a, b = rng.normal([[0.4], [0.0]], 1, (2, 80)) + shared
    apart = a - b
    t = abs(apart.mean()) / (apart.std(ddof=1) / np.sqrt(80))
    assert signal_to_noise([[sample(a), sample(b)]]) == pytest.approx(t)
    assert signal_to_noise([[sample(a), sample(b)]] * 2) == pytest.approx(t)


def test_signal_to_noise_counts_seeds():
    rng = np.random.default_rng(8)
    rows = rng.normal(0, 0.1, (3, 4, 200)) + rng.normal(0, 0.5, (3, 4, 1))
    ratio = signal_to_noise([[sample(row) for row in rows]])
    means = rows.mean(2)
    by_hand = means.mean(1).std(ddof=1) / np.sqrt((means.var(1, ddof=1) / 4).mean())
    assert ratio == pytest.approx(by_hand, rel=0.02)


def test_nothing_to_take_a_ratio_from():
    some, other = sample(np.arange(20.0)), sample(np.arange(9.0))
    for blocks in ([], [[some]], [[other, other]], [[some, other]], [[some, some]]):
        assert signal_to_noise(blocks) is None


def test_an_average_over_seeds_is_judged_like_any_column():
    """The mean squares of the combined table are those of its parts."""
    rng = np.random.default_rng(9)
    parts = [("x", sample(rng.normal(0.5, 1, (3, 100)))), ("y", sample(rng.normal(0, 1, (3, 50))))]
    found = average(parts)
    assert interval(found).n == 3 and 0 < float(p_value(crossed(found.values))) < 1
