"""Effects 2 and 3: the cost of a gain, at equal gain, on paths whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tiebreak_analysis.studies.effect import Effect, Holds
from tiebreak_analysis.studies.equal_gain import compare, least_cost
from tiebreak_analysis.studies.simpo import lengthening
from tiebreak_analysis.studies.tdpo import cheaper

BETAS = (1.0, 0.3, 0.1, 0.03)
RATES = (1e-4, 3e-4, 6e-4)
GAINS = (0.08, 0.16, 0.24, 0.25)


def test_the_least_cost_of_a_gain_by_hand() -> None:
    path = [(0.0, 0.0), (1.0, 0.2), (3.0, 0.4), (4.0, 0.3)]
    assert least_cost(path, 0.1) == pytest.approx(0.5)
    assert least_cost(path, 0.3) == pytest.approx(2.0)
    assert least_cost(path, 0.41) is None


def test_the_least_cost_may_lie_beyond_a_dearer_point() -> None:
    """Length may fall again while the reward holds."""
    assert least_cost([(0.0, 0.0), (5.0, 0.3), (-2.0, 0.3)], 0.3) == -2.0


def test_saved_cost_by_hand() -> None:
    """Straight paths, cost 10 and 4 per unit of gain: over 0.1 to 0.2 the mean gap is 0.15 * 6."""
    first = {seed: [(2.0, 0.2)] for seed in (1, 2, 3)}
    second = {seed: [(0.8, 0.2)] for seed in (1, 2, 3)}
    found = compare(first, second)
    assert found.saved is not None and found.saved.mean == pytest.approx(0.9)
    assert found.reach is not None and found.reach.mean == pytest.approx(1.0)


def test_the_jackknife_of_a_mean_is_students_t() -> None:
    """With one setting and a common gain the statistic is a mean, and 0.75 of the gap's."""
    gaps = (1.0, 2.0, 4.0)
    first = {seed: [(gap, 0.2)] for seed, gap in enumerate(gaps)}
    second = {seed: [(0.0, 0.2)] for seed in range(3)}
    found = compare(first, second).saved
    assert found is not None and found.low is not None and found.high is not None
    half = 0.75 * 4.302653 * np.std(gaps, ddof=1) / np.sqrt(3)
    assert found.mean == pytest.approx(0.75 * 7 / 3)
    assert found.high - found.mean == pytest.approx(half, rel=1e-5)


def test_a_method_against_itself_is_rarely_told_apart(rng) -> None:
    """At the 95 % level in 5 %: 15 of 300, and 24 is 2.4 standard errors more."""
    costs, gains = np.array([0.6, 1.5, 3.0, 4.0]), np.array([0.1, 0.2, 0.26, 0.27])

    def paths() -> dict[int, list[tuple[float, float]]]:
        noisy = rng.normal(1, 0.15, (4, 4)) * costs, gains + rng.normal(0, 0.025, (4, 4))
        return {seed: list(zip(noisy[0][seed], noisy[1][seed], strict=True)) for seed in range(4)}

    found = [compare(paths(), paths()).saved for _ in range(300)]
    told = [f for f in found if f and f.low is not None and f.high is not None]
    wrong = sum(f.low > 0 or f.high < 0 for f in told)
    assert len(told) > 290 and wrong <= 0.08 * 300


def test_a_method_that_gains_nothing_is_not_compared() -> None:
    nothing = {seed: [(1.0, -0.1)] for seed in (1, 2, 3)}
    something = {seed: [(1.0, 0.1)] for seed in (1, 2, 3)}
    assert compare(something, nothing).saved is None
    assert compare({}, {}).saved is None


def frontier(synthetic, rng, kl: Mapping[str, float], seeds: int = 4, reach: float = 1.0) -> Effect:
    """kl: nats that each method pays at its strongest beta, TDPO2 gaining `reach` of DPO."""
    for method, most in kl.items():
        for seed in range(1, seeds + 1):
            for at, beta in enumerate(BETAS):
                won = GAINS[at] * (reach if method == "tdpo2" else 1.0) + rng.normal(0, 0.005)
                paid = most * ((at + 1) / 4) ** 2 + rng.normal(0, 0.05)
                alpha = {"method__alpha": 0.5} if method == "tdpo2" else {}
                metrics = {"gold/reward": 0.4 + won, "kl/reference": paid}
                synthetic.add(
                    method, seed, metrics, {"gold/reward": 0.4}, method__beta=beta, **alpha
                )
    return cheaper(synthetic.records)


def test_a_cheaper_road_to_the_same_reward_is_found(synthetic, rng) -> None:
    effect = frontier(synthetic, rng, {"dpo": 4.0, "tdpo1": 4.0, "tdpo2": 2.0})
    assert effect.holds
    found = effect.tests[0].estimate
    assert found is not None and found.mean > 0.5
    assert effect.details[0].outcome is Holds.OPEN  # TDPO1, made like DPO


def test_the_same_road_is_no_finding(synthetic, rng) -> None:
    effect = frontier(synthetic, rng, {"dpo": 3.0, "tdpo2": 3.0})
    assert effect.outcome is Holds.OPEN and not effect.holds
    assert "cannot tell" in effect.words


def test_a_dearer_road_refutes_the_claim(synthetic, rng) -> None:
    effect = frontier(synthetic, rng, {"dpo": 2.0, "tdpo2": 5.0})
    assert effect.outcome is Holds.NO
    assert effect.words.startswith(f"{effect.claim}: does not hold. ")


def test_a_cheap_road_to_somewhere_nearer_refutes_the_claim(synthetic, rng) -> None:
    effect = frontier(synthetic, rng, {"dpo": 4.0, "tdpo2": 1.0}, reach=0.5)
    assert effect.tests[0].outcome is Holds.YES
    assert effect.tests[1].outcome is Holds.NO and not effect.holds


def test_two_seeds_are_too_few(synthetic, rng) -> None:
    effect = frontier(synthetic, rng, {"dpo": 40.0, "tdpo2": 2.0}, seeds=2)
    assert effect.outcome is Holds.OPEN and "too few seeds" in effect.words


def test_a_seed_that_lacks_a_beta_is_left_out(synthetic, rng) -> None:
    frontier(synthetic, rng, {"dpo": 4.0, "tdpo2": 2.0})
    without = [r for r in synthetic.records if (r.seed, r.settings["method.beta"]) != (4, 0.03)]
    found = cheaper(without).tests[0].estimate
    assert found is not None and found.num_seeds == 3
    assert cheaper([r for r in without if r.method == "dpo"]).tests[0].estimate is None


def lengths(synthetic, rng, tokens: Mapping[str, float], seeds: int = 4) -> Effect:
    for method, most in tokens.items():
        for seed in range(1, seeds + 1):
            for at, rate in enumerate(RATES):
                won = GAINS[at] + rng.normal(0, 0.005)
                longer = most * (at + 1) / 3 + rng.normal(0, 0.2)
                metrics = {"gold/reward": 0.4 + won, "length/generated": 28 + longer}
                start = {"gold/reward": 0.4, "length/generated": 28.0}
                synthetic.add(method, seed, metrics, start, train__learning_rate=rate)
    return lengthening(synthetic.records)


def test_longer_answers_at_equal_reward_are_found(synthetic, rng) -> None:
    effect = lengths(synthetic, rng, {"dpo": 6.0, "simpo": 2.0, "rdpo": 1.0})
    assert effect.holds and len(effect.tests) == 2
    found = effect.tests[0].estimate
    assert found is not None and found.mean == pytest.approx(3, abs=0.6)


def test_one_method_that_does_not_shorten_is_enough_against_it(synthetic, rng) -> None:
    effect = lengths(synthetic, rng, {"dpo": 4.0, "simpo": 7.0, "rdpo": 1.0})
    assert effect.tests[0].outcome is Holds.NO and effect.tests[1].outcome is Holds.YES
    assert effect.outcome is Holds.NO


def test_equal_lengths_are_no_finding(synthetic, rng) -> None:
    effect = lengths(synthetic, rng, {"dpo": 3.0, "simpo": 3.0, "rdpo": 3.0})
    assert effect.outcome is Holds.OPEN
