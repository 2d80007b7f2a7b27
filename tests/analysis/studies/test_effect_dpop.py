"""Effect 1 on made-up drifts: a displacement that is there is found, one that is not is not."""

from __future__ import annotations

import numpy as np
import pytest

from tiebreak_analysis.studies.dpop import displacement
from tiebreak_analysis.studies.effect import Holds

PAIRS = 60
LENGTH = 20.0


def add(synthetic, rng: np.random.Generator, method: str, seed: int, drift: float) -> None:
    drifts = drift + rng.normal(0, 1.0, PAIRS) + rng.normal(0, 0.1)
    pairs = {"drift/chosen": drifts, "length/chosen": np.full(PAIRS, LENGTH)}
    synthetic.add(method, seed, pairs=pairs, data__edit_distance=0.1)


def both(synthetic, rng, dpo: float, dpop: float, seeds: int = 4):
    for seed in range(1, seeds + 1):
        add(synthetic, rng, "dpo", seed, dpo)
        add(synthetic, rng, "dpop", seed, dpop)
    return displacement(synthetic, synthetic.records)


def test_a_displacement_that_is_there_is_found(synthetic, rng) -> None:
    effect = both(synthetic, rng, dpo=-4.0, dpop=0.5)
    assert effect.holds and effect.words.startswith(f"{effect.claim}: holds. Drift")
    found = effect.tests[0].estimate
    assert found is not None and found.mean == pytest.approx(4.5, abs=0.4)
    assert (found.num_seeds, found.num_items) == (4, PAIRS)
    share = effect.details[0]
    assert share.estimate is not None and 0.5 < share.estimate.mean <= 1 and "%" in share.words


def test_no_displacement_anywhere_is_told(synthetic, rng) -> None:
    """Both rise alike: DPO's chosen did not fall, and that refutes the claim."""
    effect = both(synthetic, rng, dpo=0.5, dpop=0.5)
    assert effect.outcome is Holds.NO
    assert effect.tests[0].outcome is Holds.OPEN
    assert effect.tests[1].outcome is Holds.NO


def test_dpop_that_displaces_too_refutes_the_claim(synthetic, rng) -> None:
    """-1 nat over 20 tokens is -0.05 a token: beyond what counts as not moved."""
    effect = both(synthetic, rng, dpo=-4.0, dpop=-1.0)
    assert [part.outcome for part in effect.tests] == [
        Holds.YES, Holds.YES, Holds.NO,
    ]  # fmt: skip
    assert not effect.holds


def test_two_seeds_are_too_few_however_large_the_effect(synthetic, rng) -> None:
    effect = both(synthetic, rng, dpo=-40.0, dpop=5.0, seeds=2)
    assert effect.outcome is Holds.OPEN and "too few seeds" in effect.words


def test_other_edit_distances_and_unfinished_methods_are_not_counted(synthetic, rng) -> None:
    for seed in (1, 2, 3):
        add(synthetic, rng, "dpo", seed, -4.0)
        synthetic.add("dpop", seed, data__edit_distance=1.0)
    effect = displacement(synthetic, synthetic.records)
    assert effect.tests[0].estimate is None and effect.outcome is Holds.OPEN
    assert "not measured (no seed has a finished run of each)" in effect.words
