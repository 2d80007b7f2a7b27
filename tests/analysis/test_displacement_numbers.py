from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
from made_pairs import alike, made

from tiebreak.errors import UserError
from tiebreak_analysis.displacement import compare, panel, split, tidy
from tiebreak_analysis.displacement.panels import COLUMNS
from tiebreak_analysis.displacement.parts import share
from tiebreak_analysis.statistics import mean_interval


def test_numbers_by_hand():
    """Drifts -1, -2, 3, 4 over 10 tokens; rejected -3, -2, 1, -4 over 20."""
    pairs = made([-1, -2, 3, 4], [-3, -2, 1, -4], length=10, rejected_length=20)
    whole = panel(pairs).groups.whole
    assert whole.num_chosen == (4,)
    assert whole.displaced is not None and whole.displaced.mean == 0.5
    assert whole.chosen is not None and whole.chosen.mean == 1.0
    assert whole.rejected is not None and whole.rejected.mean == -2.0
    assert whole.chosen_per_token is not None and whole.chosen_per_token.mean == 0.1
    assert whole.rejected_per_token is not None and whole.rejected_per_token.mean == -0.1
    assert whole.margin is not None and (whole.margin.mean, whole.margin.n) == (3.0, 4)
    variance = ((2 - 3) ** 2 + (0 - 3) ** 2 + (2 - 3) ** 2 + (8 - 3) ** 2) / 3
    half = 3.18245 * (variance / 4) ** 0.5  # t of 3 degrees of freedom
    assert whole.margin.half_width == pytest.approx(half, rel=1e-5)


def test_a_drift_of_zero_is_not_displaced():
    assert panel(made([0.0, -1e-9], [0.0, 0.0])).groups.whole.displaced == share(1, 2)


def test_per_token_is_a_mean_of_ratios():
    """-1 over 10 and -4 over 20: -0.15, not -5 over 30."""
    pairs = made([-1, -4], [0, 0], length=[10, 20])
    found = panel(pairs).groups.whole.chosen_per_token
    assert found is not None and found.mean == pytest.approx(-0.15)


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (3, -1, (0.75, 0.25, 0.0)),  # both help
        (-3, -4, (0.0, 1.0, 0.75)),  # both fell: the rejected made all of it, 3 of 4 undone
        (4, 3, (1.0, 0.0, 0.75)),  # both rose
        (2, 0, (1.0, 0.0, 0.0)),
        (0, -2, (0.0, 1.0, 0.0)),
    ],
)
def test_split_in_every_case(chosen: float, rejected: float, expected: tuple[float, ...]):
    found = split(chosen, rejected)
    assert found == expected
    pull = max(chosen, 0) + max(-rejected, 0)
    assert pull * (1 - found[2]) == pytest.approx(chosen - rejected), "growth is what is not undone"


def test_no_growth_has_no_split():
    with pytest.raises(AssertionError):
        split(-2, -1)
    whole = panel(alike(-2, -1)).groups.whole
    assert whole.margin is not None and whole.margin.mean < 0
    assert (whole.chosen_share, whole.rejected_share, whole.undone) == (None, None, None)


def test_growth_that_is_noise_has_no_split():
    whole = panel(made([5, -5, 5, -4], [0, 0, 0, 0])).groups.whole
    assert whole.margin is not None and whole.margin.mean > 0
    assert whole.chosen_share is None


def test_buckets_hold_their_upper_edge():
    distance = [0.0, 0.1, 0.11, 0.25, 0.5, 0.51, 1.0]
    pairs = made([-1.0] * 7, [-2.0] * 7, distance=distance, length=[1, 16, 17, 32, 33, 512, 513])
    found = panel(pairs)
    edits = {part.name: part.num_chosen[0] for part in found.by_edit_distance}
    lengths = {part.name: part.num_chosen[0] for part in found.by_length}
    assert edits == {"0 to 0.1": 2, "0.1 to 0.25": 2, "0.25 to 0.5": 1, "0.5 to 0.75": 1,
                     "0.75 to 1": 1}  # fmt: skip
    assert lengths == {"1 to 16": 2, "17 to 32": 2, "33 to 64": 1, "65 to 128": 0,
                       "129 to 256": 0, "257 to 512": 1, "over 512": 1}  # fmt: skip
    assert (found.groups.near.num_chosen, found.groups.distant.num_chosen) == ((4,), (3,))


def test_an_empty_bucket_is_there_without_numbers():
    empty = panel(alike(-1, -2, distance=0.6)).by_edit_distance[0]
    assert empty.num_chosen == (0,)
    assert empty.displaced is None and empty.chosen is None and empty.margin is None


def test_share_interval_by_hand():
    """0 of n: 1 - 0.025^(1/n); n of n: its mirror. 15 of 30: 0.3130 to 0.6870 (printed tables)."""
    assert share(0, 30).high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert share(30, 30).low == pytest.approx(0.025 ** (1 / 30))
    assert (share(0, 30).low, share(30, 30).high) == (0.0, 1.0)
    assert (share(15, 30).low, share(15, 30).high) == pytest.approx((0.3130, 0.6870), abs=1e-4)


def test_seeds_are_pooled_by_run():
    """Means over runs, not over pairs: a run with ten times the pairs weighs the same."""
    pairs = pd.concat([
        made([-1.0] * 40, [-2.0] * 40, run_id="one"),
        made([3.0] * 400, [-2.0] * 400, run_id="two"),
        made([1.0] * 40, [-2.0] * 40, run_id="six"),
    ])  # fmt: skip
    (found,) = compare(pairs, {"dpo": ["one", "two", "six"]})
    assert found.groups.whole.chosen == mean_interval([-1.0, 3.0, 1.0])
    assert found.groups.whole.chosen is not None and found.groups.whole.chosen.n == 3
    assert found.groups.whole.num_chosen == (40, 400, 40)
    assert found.over == "runs"
    share_of = found.groups.whole.displaced
    assert share_of is not None and share_of.mean == pytest.approx(1 / 3)


def test_a_comparison_keeps_groups_apart_and_in_order():
    pairs = pd.concat([alike(-1, -2, run_id="a"), alike(1, 0, run_id="b")])
    first, second = compare(pairs, {"ipo": ["b"], "dpo": ["a"]})
    assert (first.label, first.run_ids, first.answer.found) == ("ipo", ("b",), "no")
    assert (second.label, second.run_ids, second.answer.found) == ("dpo", ("a",), "yes")
    assert dataclasses.replace(second, label="a") == panel(pairs[pairs["run_id"] == "a"])


def test_a_run_without_pairs_is_named():
    (found,) = compare(alike(-1, -2, run_id="a"), {"dpo": ["a", "gone"]})
    assert (found.run_ids, found.without_pairs) == (("a",), ("gone",))
    (none,) = compare(pd.DataFrame(), {"dpo": ["gone"]})
    assert (none.run_ids, none.without_pairs, none.answer.found) == ((), ("gone",), "cannot tell")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_run_of_another_version_is_one_without_pairs(column: str):
    old = alike(-1, -2, run_id="old").drop(columns=[column])
    (found,) = compare(old, {"dpo": ["old"]})
    assert (found.run_ids, found.without_pairs) == ((), ("old",))
    (found,) = compare(pd.concat([alike(-1, -2, run_id="a"), old]), {"dpo": ["a", "old"]})
    assert (found.run_ids, found.without_pairs) == (("a",), ("old",))


def test_unpaired_runs_are_whole():
    only = made([-1.0] * 40, [None] * 40, run_id="b").assign(edit_distance=None)
    only["length/rejected"] = None
    (found,) = compare(pd.concat([alike(-1, -2, run_id="a"), only]), {"kto": ["a", "b"]})
    assert found.run_ids == ("a", "b")


def test_unpaired_rows_count_where_they_can():
    """Labelled single responses: no margin, no split, but the chosen is judged."""
    pairs = made([-1.0] * 40 + [None] * 30, [None] * 40 + [-3.0] * 30)
    pairs["edit_distance"] = None
    whole = panel(pairs).groups.whole
    assert (whole.num_chosen, whole.margin, whole.chosen_share) == ((40,), None, None)
    assert whole.rejected is not None and (whole.rejected.mean, whole.rejected.n) == (-3.0, 30)


def test_two_runs_in_one_panel_are_refused():
    pairs = pd.concat([alike(-1, -2, run_id="a"), alike(1, 0, run_id="b")])
    with pytest.raises(UserError, match="2 runs in one panel"):
        panel(pairs)


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="aaaa lack drift/rejected, edit_distance"):
        panel(alike(-1, -2).drop(columns=["drift/rejected", "edit_distance"]))


def test_a_panel_is_json_and_the_same_twice():
    pairs = pd.concat([alike(-1, -2, run_id="a"), alike(1, 0, run_id="b")])
    groups = {"dpo": ["a", "b"]}
    first, second = (compare(pairs, groups)[0] for _ in range(2))
    written = json.dumps(dataclasses.asdict(first), allow_nan=False)
    assert written == json.dumps(dataclasses.asdict(second), allow_nan=False)
    shuffled = compare(pairs.sample(frac=1, random_state=0), groups)[0]
    assert json.dumps(dataclasses.asdict(shuffled)) == written, "the order of rows is no matter"


def test_tidy_has_every_bucket_and_measure():
    frame = tidy([panel(alike(-1, -2), label="dpo (beta=1)")], {"dpo (beta=1)": "dpo"})
    assert len(frame) == (3 + 5 + 7) * 9
    at = (frame["by"] == "edit_distance") & (frame["measure"] == "displaced")
    rows = frame[at].set_index("bucket")
    assert set(rows["method"]) == {"dpo"}
    assert rows.loc["0.5 to 0.75", "mean"] == 1.0 and rows.loc["0.5 to 0.75", "n"] == 100
    assert pd.isna(rows.loc["0 to 0.1", "mean"]) and rows.loc["0 to 0.1", "n"] == 0
