from __future__ import annotations

import pandas as pd
import pytest
from made_pairs import alike, made

from tiebreak_analysis.displacement import compare, panel
from tiebreak_analysis.displacement.parts import MIN_PAIRS

NEAR, FAR = {"distance": 0.1}, {"distance": 0.8}


def both(near: tuple[float, float], far: tuple[float, float], **more) -> pd.DataFrame:
    frames = alike(*near, **NEAR, **more), alike(*far, **FAR, **more)
    return pd.concat(frames, ignore_index=True)


def test_displaced_where_pairs_are_near_duplicates():
    found = panel(both((-2, -4), (3, -4)))
    assert found.verdict == (
        "displaced: yes - 100 % of near-duplicate pairs, 0 % of the others; the margin grew only "
        "because the rejected fell; DPOP, CPO's NLL term or more distant pairs avoid this"
    )
    assert found.answer.near


def test_displaced_everywhere():
    found = panel(both((-2, -4), (-3, -4)))
    assert found.verdict == (
        "displaced: yes - 100 % of pairs; the margin grew only because the rejected fell; DPOP or "
        "an NLL term on the chosen (CPO, ORPO) avoids this, a larger beta lessens it"
    )


def test_not_displaced():
    found = panel(both((2, -2), (4, -4)))
    assert found.verdict == (
        "displaced: no - 0 % of pairs; the chosen rose on average (+0.150 nats per token); the "
        "margin grew by the chosen rising (50 %) and the rejected falling (50 %)"
    )


def test_both_rose():
    assert panel(alike(4, 1)).verdict.endswith("the margin grew only because the chosen rose")


def test_a_still_model_is_not_displaced_whatever_the_signs():
    """All of them below zero, by 0.005 nats per token: nothing happened."""
    found = panel(made([-0.1] * 100, [-0.1] * 100))
    assert found.answer.found == "no"
    assert found.verdict == (
        "displaced: no - 100 % of pairs; the chosen hardly moved (-0.005 nats per token); the "
        "margin did not clearly grow (+0.00 nats)"
    )


def test_a_margin_that_fell_is_said():
    assert "the margin fell (-3.00 nats)" in panel(alike(-4, -1)).verdict


def test_mixed_when_mean_and_majority_disagree():
    """Three in ten fall far, the rest rise a little."""
    found = panel(made([-9.0] * 30 + [1.0] * 70, [-10.0] * 100))
    assert found.answer.found == "mixed"
    assert "30 % of pairs; the chosen fell on average (-0.100 nats per token)" in found.verdict


def test_mixed_without_a_majority():
    """52 of 100 displaced: the interval holds one half."""
    assert panel(made([-2.0] * 52 + [1.0] * 48, [-9.0] * 100)).answer.found == "mixed"
    assert panel(made([-2.0] * 70 + [1.0] * 30, [-9.0] * 100)).answer.found == "yes"


def test_mixed_when_only_distant_pairs_fall():
    found = panel(both((3, -4), (-2, -4)))
    assert "mixed - 0 % of near-duplicate pairs, 100 % of the others" in found.verdict


def test_few_near_duplicates_are_not_judged_apart():
    near = alike(-2, -4, num=MIN_PAIRS - 1, **NEAR)
    assert panel(pd.concat([near, alike(3, -4, num=200, **FAR)])).answer.found == "no"
    near = alike(-2, -4, num=MIN_PAIRS, **NEAR)
    assert panel(pd.concat([near, alike(3, -4, num=200, **FAR)])).answer.found == "yes"


@pytest.mark.parametrize(("num", "words"), [(0, "0 pairs"), (1, "1 pair"), (29, "29 pairs")])
def test_too_few_pairs(num: int, words: str):
    assert panel(alike(-2, -4, num=num)).verdict == f"displaced: cannot tell: {words} (needs 30)"


def test_unpaired_responses_are_called_so():
    pairs = made([-1.0] * 40 + [None] * 30, [None] * 40 + [-3.0] * 30)
    pairs["edit_distance"] = None
    assert panel(pairs).verdict.startswith("displaced: yes - 100 % of chosen responses; DPOP or")


def test_runs_that_agree_and_runs_that_do_not():
    frames = [alike(-2, -4, run_id="a"), alike(-1, -4, run_id="b"), alike(2, -4, run_id="c")]
    runs = pd.concat([*frames, alike(-1, -2, num=5, run_id="d")])
    agree, apart, few = compare(
        runs, {"agree": ["a", "b"], "apart": ["a", "b", "c"], "few": ["a", "d"]}
    )
    assert agree.verdict.startswith("displaced: yes (yes in 2 of 2 runs) - 100 % of pairs; the ")
    assert apart.verdict.startswith(
        "displaced: mixed (yes in 2, no in 1 of 3 runs) - 67 % of pairs"
    )
    assert few.verdict.startswith("displaced: yes (yes in 1, cannot tell in 1 of 2 runs) - ")


def test_no_run_can_tell():
    runs = pd.concat([alike(-1, -2, num=5, run_id="a"), alike(-1, -2, num=7, run_id="b")])
    (found,) = compare(runs, {"dpo": ["a", "b"]})
    assert found.verdict == "displaced: cannot tell: 5, 7 pairs in 2 runs (needs 30)"
