"""Win rates by hand, and on simulated judges whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, stdtrit

from benchmarks.judge_intervals import KINDS, WORLDS, coverage
from tiebreak_analysis import agreement, win_rates
from tiebreak_analysis.win_rates import Calibration, Rate


def test_a_raw_win_rate_is_a_count_with_ties_by_half() -> None:
    rate = win_rates.win_rate([1, 1, 0, 0.5])
    assert (rate.value, rate.n) == (0.625, 4)
    assert rate.error == pytest.approx(np.std([1, 1, 0, 0.5], ddof=1) / 2)
    low, high = rate.interval() or (0, 0)
    assert low == pytest.approx(0.625 - 1.959964 * rate.error) and high == 1.0
    assert win_rates.win_rate([1.0]) == Rate(1.0, None, 1)


@pytest.mark.parametrize("wrong", [[], [1.1], [-0.1, 0], [math.nan]])
def test_what_is_no_preference_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        win_rates.win_rate(wrong)


def test_turns_of_one_question_are_one_draw() -> None:
    """Doubling every value within its question adds no information."""
    values, questions = [1, 0, 0.5, 1, 0], list("abcde")
    once = win_rates.win_rate(values)
    twice = win_rates.win_rate(values * 2, questions * 2)
    assert twice.error == pytest.approx(once.error)
    assert win_rates.win_rate(values * 2).error < once.error  # type: ignore[operator]


def simulated(
    quality: float, taste: float, n: int = 40_000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(wins, own lengths, other lengths) of a model whose answers are twice as long."""
    draw = np.random.default_rng(0)
    other = draw.integers(400, 1200, n)
    own = other * draw.uniform(0.8, 3.0, n)
    chance = expit(quality + taste * win_rates.length_term(own, other))
    return (draw.random(n) < chance).astype(float), own, other


@pytest.mark.parametrize(("quality", "taste"), [(0.0, 1.5), (-1.0, 1.5), (1.2, 0.7), (0.4, 0.0)])
def test_length_control_finds_the_rate_at_equal_length(quality: float, taste: float) -> None:
    wins, own, other = simulated(quality, taste)
    found = win_rates.controlled(wins, win_rates.length_term(own, other))
    truth = float(expit(quality))
    assert abs(found.rate.value - truth) < 0.01
    raw = win_rates.win_rate(wins).value
    assert taste == 0 or abs(raw - truth) > 0.04, "else there is nothing to control"
    assert found.items.mean() == pytest.approx(found.rate.value, abs=1e-12)


def test_the_standard_error_of_length_control_is_that_of_repetitions() -> None:
    rates, errors = [], []
    draw = np.random.default_rng(1)
    for _ in range(300):
        other = draw.integers(400, 1200, 400)
        term = win_rates.length_term(other * draw.uniform(0.8, 3.0, 400), other)
        wins = (draw.random(400) < expit(0.3 + 1.2 * term)).astype(float)
        found = win_rates.controlled(wins, term).rate
        rates.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(rates), rel=0.1)


def test_how_hard_a_question_is_can_be_kept() -> None:
    draw = np.random.default_rng(2)
    hard, term = draw.normal(0, 2, 40_000), np.tanh(draw.normal(0.8, 1, 40_000))
    wins = (draw.random(40_000) < expit(0.5 + hard + term)).astype(float)
    found = win_rates.controlled(wins, term, hard)
    assert abs(found.rate.value - expit(0.5 + hard).mean()) < 0.01
    assert found.coefficients == pytest.approx([0.5, 1, 1], abs=0.06)


def test_a_model_that_always_wins_and_answers_of_one_length() -> None:
    sure = win_rates.controlled(np.ones(50), win_rates.length_term([5] * 50, [5] * 50))
    assert 0.95 < sure.rate.value <= 1
    assert (win_rates.length_term([3, 3], [3, 3]) == 0).all()


def test_a_judge_that_repeats_itself_adds_nothing() -> None:
    same = win_rates.repeatability([1, 0, 0.5], [1, 0, 0.5])
    assert (same.flips, same.shift, same.variance, same.sessions) == (0, 0, 0, 1)
    assert same.beside(0.01) == pytest.approx(0, abs=1e-12)


def test_repeatability_by_hand() -> None:
    moved = win_rates.repeatability([0, 0, 1, 0.5], [1, 0, 1, 0.5])
    assert (moved.questions, moved.flips, moved.shift) == (4, 0.25, 0.25)
    # one difference, of 0.25; of the four, each around it, (0.75, 0.25, 0.25, 0.25)^2 / 3 / 4
    assert moved.squares == pytest.approx(0.0625) and moved.sessions == 1
    assert moved.chance == pytest.approx((0.5625 + 3 * 0.0625) / 3 / 4)
    assert moved.variance == pytest.approx(0.0625 - 0.0625)
    several = win_rates.repeatability([0.0, 0.0], [0.1, 0.1], [0.2, 0.2])
    assert several.sessions == 2 and several.chance == pytest.approx(0)
    assert several.squares == pytest.approx(2 * 0.02) and several.variance == pytest.approx(0.02)
    both = win_rates.Repeatability.pooled([moved, several])
    assert both.sessions == 3 and both.squares == pytest.approx(0.0625 + 0.04)
    assert both.chance == pytest.approx(moved.chance / 3) and both.flips == pytest.approx(0.25 / 3)
    for wrong in ([[1, 0]], [[1, 0], [1]], [[], []]):
        with pytest.raises(ValueError, match="two sessions or more"):
            win_rates.repeatability(*wrong)
    with pytest.raises(ValueError, match="no repetition"):
        win_rates.Repeatability.pooled([])


@pytest.mark.parametrize("sessions", [1, 3])
def test_few_sessions_are_students_t_where_nothing_else_varies(sessions: int) -> None:
    """One difference of 1: Student's t with one degree of freedom is 12.7."""
    again = win_rates.Repeatability(100, 0.0, 1.0, sessions, float(sessions), 0.0)
    width = math.sqrt(again.beside(1e-9)) * win_rates.z_of(0.95)
    assert width == pytest.approx(float(stdtrit(sessions, 0.975)), rel=1e-3)
    many = win_rates.Repeatability(100, 0.0, 1.0, 100_000, 100_000.0, 0.0)
    assert many.beside(1e-9) == pytest.approx(1, rel=1e-3)


def test_a_weighted_rate_is_that_of_repeated_games() -> None:
    """Arena-Hard: much better counts three times."""
    wins, weights = [1.0, 0.0, 0.5, 0.25], [3.0, 1.0, 1.0, 2.0]
    items = win_rates.weighted(wins, weights, wins, weights)
    games = [1.0] * 3 + [0.0] + [0.5] + [0.25] * 2
    assert items.mean() == pytest.approx(np.mean(games))
    draw = np.random.default_rng(0)
    rates, errors = [], []
    for _ in range(400):
        y, w = draw.integers(0, 2, 200).astype(float), draw.choice([1.0, 3.0], 200)
        found = win_rates.weighted(y, w, y, w)
        rates.append(found.mean())
        errors.append(found.std(ddof=1) / math.sqrt(200))
    assert np.mean(errors) == pytest.approx(np.std(rates), rel=0.1)


def test_a_fit_with_weights_is_that_of_repeated_rows() -> None:
    draw = np.random.default_rng(0)
    term, wins = draw.normal(size=60), draw.integers(0, 3, 60) / 2
    weights = draw.choice([1, 3], 60)
    once = win_rates.controlled(wins, term, weights=weights)
    repeated = win_rates.controlled(np.repeat(wins, weights), np.repeat(term, weights))
    assert once.coefficients == pytest.approx(repeated.coefficients, abs=1e-6)
    assert once.rate.value == pytest.approx(repeated.rate.value, abs=1e-7)
    plain = win_rates.controlled(wins, np.zeros(60), weights=weights)
    assert plain.rate.value == pytest.approx(np.average(wins, weights=weights), abs=1e-4)


def test_style_terms_are_arena_hards() -> None:
    own, other = np.array([[300, 3], [100, 0], [50, 1]]), np.array([[100, 0], [100, 0], [150, 3]])
    terms = win_rates.ratio_terms(own, other)
    length = np.array([200 / 400, 0, -100 / 200])
    dense = np.array([0.01 / 1.01, 0, 0])
    assert terms[:, 0] == pytest.approx(length / length.std())
    assert terms[:, 1] == pytest.approx(dense / dense.std())
    assert (win_rates.ratio_terms(own, own) == 0).all()


def test_style_control_of_five_verdicts_finds_the_rate_at_equal_style() -> None:
    draw = np.random.default_rng(5)
    n = 40_000
    other = np.stack([draw.integers(400, 1200, n), draw.poisson(3, n)], axis=1)
    own = np.stack([other[:, 0] * draw.uniform(0.8, 3.0, n), draw.poisson(6, n)], axis=1)
    terms = win_rates.ratio_terms(own, other)
    chance = expit(-0.4 + terms @ [0.8, 0.5])
    wins, weights = (draw.random(n) < chance).astype(float), draw.choice([1.0, 3.0], n)
    found = win_rates.controlled(wins, terms, weights=weights).rate.value
    assert abs(found - expit(-0.4)) < 0.01
    assert abs(np.average(wins, weights=weights) - expit(-0.4)) > 0.05


def test_correction_by_hand() -> None:
    """0.6 judged, right in 90 % where people prefer it, and in 80 % where not: 0.4 / 0.7."""
    exact = Calibration(0.9, 0.2, 0.0, 0.0)
    found = win_rates.corrected(Rate(0.6, 0.02, 500), exact)
    assert found.value == pytest.approx(4 / 7)
    assert (found.low, found.high) == (
        pytest.approx(4 / 7 - 1.959964 * 0.02 / 0.7), pytest.approx(4 / 7 + 1.959964 * 0.02 / 0.7)
    )  # fmt: skip
    measured = Calibration.of([1] * 9 + [0] + [0] * 8 + [1] * 2, [1] * 10 + [0] * 10)
    assert (measured.when_better, measured.when_worse) == (0.9, 0.2)
    wider = win_rates.corrected(Rate(0.6, 0.02, 500), measured)
    assert wider.low < found.low and wider.high > found.high


def test_a_coin_corrects_nothing() -> None:
    coin = Calibration.symmetric([1, 0] * 50)
    assert win_rates.corrected(Rate(0.6, 0.02, 500), coin) == win_rates.Corrected(None, 0, 1)


def test_an_interval_of_both_samples_holds_the_truth() -> None:
    """The full thousand: python benchmarks/judge_intervals.py."""
    for name in ("usual judge, model behind", "judge that moves 3 points"):
        found = coverage(WORLDS[name], 200)
        plain, alone, *repeated = (found[kind][0] for kind in KINDS)
        assert plain < 0.6 < alone < 0.93 <= min(repeated)
        widths = [found[kind][1] for kind in KINDS[2:]]
        assert widths == sorted(widths, reverse=True), "more sessions say more"


def test_agreement_by_hand() -> None:
    found = agreement.agreement([1, 1, 1, 0], [1, 0, 1, 0], [9, 9, 3, 3], [5, 5, 5, 5])
    assert (found.rate.value, found.n) == (0.625, 4)
    assert found.position == 0.125 and found.flipped == 0.25
    # judge's longer: 1, .5, 0, 1; people's: 1, 1, 0, 0
    assert found.length == pytest.approx((0 - 0.5 + 0 + 1) / 4)
    assert found.kappa == pytest.approx(0.25)
    assert found.low < 0.625 < found.high


def test_kappa_of_habits_alone_is_nothing() -> None:
    assert agreement.kappa([1, 1, 1], [0, 0, 0]) == 0
    assert agreement.kappa([1, 1], [1, 1]) == 1
    assert agreement.kappa([0.5, 0.5], [0.5, 0.5]) == 0


def test_wilson_by_hand() -> None:
    low, high = agreement.wilson(Rate(1.0, 0.0, 10))
    assert (low, high) == (pytest.approx(0.7225, abs=1e-4), 1.0)
