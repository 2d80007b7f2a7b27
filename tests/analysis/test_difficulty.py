"""Length control with the difficulty of instructions, on simulated judges whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from benchmarks.length_control import Judged, drawn, two_steps
from tiebreak_analysis.difficulty import joint
from tiebreak_analysis.win_rates import controlled


def plain(world: Judged) -> np.ndarray:
    """The regression on length alone, model by model."""
    both = zip(world.wins, world.terms, strict=True)
    return np.array([controlled(wins, terms).rate.value for wins, terms in both])


def apart(found: np.ndarray, world: Judged) -> float:
    """Root mean square difference from the truth, in points."""
    return 100 * float(np.sqrt(np.square(found - world.truth).mean()))


def test_the_rate_at_equal_length_is_found_where_hard_questions_have_long_answers() -> None:
    world = drawn(4, 12_000, np.random.default_rng(0))
    found = joint(world.wins, world.terms)
    assert apart(found.rates, world) < 1
    assert apart(plain(world), world) > 4, "else difficulty does not matter"
    assert apart(two_steps(world.wins, world.terms), world) > 1.5
    assert found.items.mean(1) == pytest.approx(found.rates, abs=1e-12)
    assert (found.slopes > 0).all()


def test_where_length_tells_nothing_of_difficulty_it_agrees_with_the_plain_fit() -> None:
    world = drawn(3, 6_000, np.random.default_rng(1), longer=0.0)
    found = joint(world.wins, world.terms)
    assert found.rates == pytest.approx(plain(world), abs=0.01)


def test_its_standard_error_is_that_of_repetitions() -> None:
    rates, errors = [], []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        world = drawn(3, 600, draw, models=np.random.default_rng(99))
        found = joint(world.wins, world.terms)
        rates.append(found.rates)
        errors.append(found.items.std(1, ddof=1) / np.sqrt(600))
    assert np.mean(errors) == pytest.approx(np.std(rates, axis=0).mean(), rel=0.2)


def test_questions_that_were_not_judged_are_left_out() -> None:
    world = drawn(4, 4_000, np.random.default_rng(2))
    wins = world.wins.copy()
    wins[1, ::3] = np.nan
    found = joint(wins, world.terms)
    assert np.isnan(found.items[1, ::3]).all() and np.isfinite(found.items[0]).all()
    assert np.nanmean(found.items, axis=1) == pytest.approx(found.rates, abs=1e-12)
    assert apart(found.rates, world) < 2


def test_what_cannot_be_fitted() -> None:
    wins, terms = np.full((3, 5), 0.5), np.zeros((3, 5))
    with pytest.raises(ValueError, match="2 models"):
        joint(wins[:2], terms[:2])
    with pytest.raises(ValueError, match="each model needs a judged question"):
        joint(np.where(np.arange(5) == 2, np.nan, wins), terms)
    assert joint(wins, terms).rates == pytest.approx([0.5] * 3)
    sure = joint(np.ones((3, 50)), np.zeros((3, 50))).rates
    assert ((sure > 0.95) & (sure <= 1)).all() and expit(0) == 0.5
