from __future__ import annotations

import pandas as pd
import pytest
from made_pairs import alike, made

from tiebreak_analysis.displacement import compare, comparison_text, panel, text
from tiebreak_analysis.displacement.verdict import MIN_PAIRS

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
        runs, None, {"agree": ["a", "b"], "apart": ["a", "b", "c"], "few": ["a", "d"]}
    )
    assert agree.verdict.startswith("displaced: yes (yes in 2 of 2 runs) - 100 % of pairs; the ")
    assert apart.verdict.startswith(
        "displaced: mixed (yes in 2, no in 1 of 3 runs) - 67 % of pairs"
    )
    assert few.verdict.startswith("displaced: yes (yes in 1, cannot tell in 1 of 2 runs) - ")


def test_no_run_can_tell():
    runs = pd.concat([alike(-1, -2, num=5, run_id="a"), alike(-1, -2, num=7, run_id="b")])
    (found,) = compare(runs, None, {"dpo": ["a", "b"]})
    assert found.verdict == "displaced: cannot tell: 5, 7 pairs in 2 runs (needs 30)"


def test_text_begins_with_the_verdict_and_shows_empty_buckets():
    found = panel(alike(-2, -4, distance=0.6), label="dpo")
    lines = text(found).splitlines()
    assert lines[0] == "### dpo" and lines[2] == f"**{found.verdict}**"
    (empty,) = [line for line in lines if line.startswith("| edit distance 0 to 0.1 ")]
    cells = [cell.strip() for cell in empty.strip("|").split("|")]
    assert cells == ["edit distance 0 to 0.1", "0", *["-"] * 8]
    (whole,) = [line for line in lines if line.startswith("| all pairs ")]
    cells = [cell.strip() for cell in whole.strip("|").split("|")]
    assert cells[1:5] == ["100", "100 [96, 100]", "-2.00 [-2.02, -1.98]", "-4.00 [-4.02, -3.98]"]
    assert cells[-2:] == ["0", "50"], "chosen up, undone"
    assert any("is it broken? Not by itself" in line for line in lines)
    assert len({len(line) for line in lines if line.startswith("|")}) == 1, "columns line up"


def test_two_runs_print_no_interval():
    runs = pd.concat([alike(-2, -4, run_id="a"), alike(-1, -4, run_id="b")])
    two, one = compare(runs, None, {"two": ["a", "b"], "one": ["a"]})
    assert "[" not in "".join(line for line in text(two).splitlines() if line.startswith("|"))
    assert "[" in text(one)


def test_text_says_what_training_showed():
    history = pd.DataFrame({"step": range(1, 21), "drift/chosen": [1.0] * 10 + [-3.0] * 10,
                            "drift/rejected": -5.0, "displaced/share": 0.25})  # fmt: skip
    line = "on training pairs: chosen highest in steps 1 to 2 (+1.00), at the end (steps 19 to 20)"
    assert f"{line} chosen -3.00, rejected -5.00, displaced 25 %" in text(
        panel(alike(-2, -4), history)
    )


def test_names_of_methods_are_escaped():
    (found,) = compare(alike(-2, -4), None, {"a|b <script> *x*": ["a" * 12, "x_|"]})
    written = text(found) + comparison_text([found])
    assert r"a\|b \<script> \*x\*" in written and "<script>" not in written.replace(r"\<", "")
    assert r"x_\|" in written or r"x\_\|" in written


def test_comparison_has_a_row_and_a_verdict_each():
    runs = pd.concat([alike(-2, -4, run_id="a"), alike(2, -4, run_id="b")])
    lines = comparison_text(compare(runs, None, {"dpo": ["a"], "dpop": ["b"]})).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["dpo", "dpop"]
    assert lines[5].startswith("- dpo: displaced: yes")
    assert lines[6].startswith("- dpop: displaced: no")
