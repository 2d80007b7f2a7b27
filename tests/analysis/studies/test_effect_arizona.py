"""Effects 4 and 5: shares of a gain and differences of gaps, with the answer put in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tiebreak_analysis.statistics import Sample
from tiebreak_analysis.studies.arizona import nearer, tenth
from tiebreak_analysis.studies.effect import Effect, Holds, share

ITEMS = 40


def gains(synthetic, rng, by_size: Mapping[int, float], seeds: int = 5) -> Effect:
    before = rng.normal(0.5, 0.3, ITEMS)
    for size, gain in by_size.items():
        for seed in range(1, seeds + 1):
            after = before + gain + rng.normal(0, 0.1, ITEMS) + rng.normal(0, 0.01)
            items = {"reward/before": before, "reward/after": after}
            synthetic.add("dpo", seed, items=items, data__num_pairs=size)
    return tenth(synthetic, synthetic.records, "tenth", 4000, "one pass")


def test_most_of_the_gain_is_found(synthetic, rng) -> None:
    effect = gains(synthetic, rng, {400: 0.24, 1200: 0.28, 4000: 0.30})
    assert effect.holds and "of 4000 pairs; one pass" in effect.claim
    found = effect.details[0].estimate
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < 0.8 < found.high and found.mean == pytest.approx(0.8, abs=0.1)


def test_a_small_share_refutes_the_claim(synthetic, rng) -> None:
    effect = gains(synthetic, rng, {400: 0.05, 4000: 0.30})
    assert effect.outcome is Holds.NO
    found = effect.tests[0].estimate
    assert found is not None and found.mean == pytest.approx(-0.1, abs=0.03)


def test_half_of_the_gain_is_left_open(synthetic, rng) -> None:
    assert gains(synthetic, rng, {400: 0.15, 4000: 0.30}).outcome is Holds.OPEN


def test_no_gain_at_all_has_no_share(synthetic, rng) -> None:
    effect = gains(synthetic, rng, {400: 0.0, 4000: 0.0})
    assert effect.outcome is Holds.OPEN
    found = effect.details[0].estimate
    assert found is not None and found.low is None


def test_two_seeds_are_too_few_for_a_share(synthetic, rng) -> None:
    effect = gains(synthetic, rng, {400: 0.3, 4000: 0.3}, seeds=2)
    assert effect.outcome is Holds.OPEN and "too few seeds" in effect.words


def test_a_sweep_without_runs_says_so(synthetic) -> None:
    effect = tenth(synthetic, [], "tenth", 4000, "one pass")
    assert effect.outcome is Holds.OPEN and "not measured" in effect.words


def test_fieller_by_hand() -> None:
    """One value per seed and no item: c where mean(part - c whole) = t s / sqrt(n), both ends."""
    part, whole = np.array([1.0, 1.4, 1.1, 1.3]), np.array([2.0, 2.2, 2.1, 1.9])
    found = share(Sample((1, 2, 3, 4), (), part), Sample((1, 2, 3, 4), (), whole))
    assert found.mean == pytest.approx(part.mean() / whole.mean())
    for end in (found.low, found.high):
        assert end is not None
        apart = part - end * whole
        t = apart.mean() / (apart.std(ddof=1) / 2)
        assert abs(t) == pytest.approx(3.182446, rel=2e-3)


def scenarios(synthetic, rng, gap: Mapping[str, float], seeds: int = 5) -> Effect:
    easy = rng.normal(0.7, 0.3, ITEMS)
    for method, missed in gap.items():
        for seed in range(1, seeds + 1):
            for scenario, less in (("sft-then-align", 0.0), ("align-from-base", missed)):
                after = easy - less + rng.normal(0, 0.1, ITEMS) + rng.normal(0, 0.01)
                synthetic.add(method, seed, scenario=scenario, items={"reward/after": after})
    return nearer(synthetic, synthetic.records)


def test_methods_that_come_nearer_are_found(synthetic, rng) -> None:
    effect = scenarios(synthetic, rng, {"dpo": 0.2, "ipo": 0.25, "kto": 0.02, "cpo": 0.05})
    assert effect.holds and len(effect.details) == 4
    found = effect.tests[0].estimate
    assert found is not None and found.mean == pytest.approx(0.19, abs=0.05)


def test_equal_gaps_are_no_finding(synthetic, rng) -> None:
    effect = scenarios(synthetic, rng, {"dpo": 0.1, "ipo": 0.1, "kto": 0.1, "cpo": 0.1})
    assert effect.outcome is Holds.OPEN and not effect.holds


def test_the_reverse_refutes_the_claim(synthetic, rng) -> None:
    effect = scenarios(synthetic, rng, {"dpo": 0.0, "ipo": 0.0, "kto": 0.2, "cpo": 0.2})
    assert effect.outcome is Holds.NO


def test_without_one_method_there_is_no_contrast(synthetic, rng) -> None:
    effect = scenarios(synthetic, rng, {"dpo": 0.2, "ipo": 0.2, "kto": 0.0})
    assert effect.tests[0].estimate is None and effect.outcome is Holds.OPEN
    assert effect.details[0].outcome is Holds.YES  # DPO against KTO is there
