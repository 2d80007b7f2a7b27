"""From rows of two evaluations to metrics and tables, by hand."""

from __future__ import annotations

import pytest

from tiebreak.stages.evaluate import _first_difference
from tiebreak.stages.summary import (
    Evaluated,
    against_start,
    generation_rows,
    item_columns,
    metrics,
    pair_columns,
    pair_token_columns,
)


def evaluated(shift: float = 0.0, reward: float = 0.5) -> Evaluated:
    items = [
        {"id": "a", "tokens": 4, "logp": -8.0 + shift, "logp_start": -8.0, "gold/reward": reward},
        {"id": "b", "tokens": 6, "logp": -6.0 + shift, "logp_start": -6.0, "gold/reward": 0.5},
    ]
    pairs = [
        {"id": "p", "label": None, "lengths": [2, 4], "logp": [-4.0 - shift, -6.0 - 3 * shift],
         "edit_distance": 0.5},
        {"id": "q", "label": None, "lengths": [2, 8], "logp": [-5.0, -4.0], "edit_distance": 1.0},
    ]  # fmt: skip
    answers = [{"id": i, "prompt": f"say {i}", "response": f"{i}{shift}"} for i in "ab"]
    return Evaluated(items, pairs, answers)


START, POLICY = evaluated(), evaluated(shift=1.0, reward=0.75)


def test_metrics_of_one_model() -> None:
    assert metrics(START) == {
        "length/generated": 5.0,
        "gold/reward": 0.5,
        "accuracy/likelihood": 0.5,  # -4 > -6, -5 < -4
        "accuracy/likelihood_per_token": 0.0,  # -2 < -1.5, -2.5 < -0.5
    }


def test_metrics_against_the_start_model() -> None:
    assert against_start(START, POLICY, 1.0) == {
        "kl/reference": 1.0,
        "win_rate/start": 0.75,  # one win, one tie
        "drift/chosen": -0.5,
        "drift/rejected": -1.5,
        "displaced/share": 0.5,
        "accuracy/drift": 0.75,  # -1 > -3, and a tie
    }


def test_a_model_against_itself_is_nothing() -> None:
    found = against_start(START, START, 1.0)
    assert found == {
        "kl/reference": 0.0, "win_rate/start": 0.5, "drift/chosen": 0.0, "drift/rejected": 0.0,
        "displaced/share": 0.0, "accuracy/drift": 0.5,
    }  # fmt: skip


def test_unpaired_rows_count_on_their_side() -> None:
    rows = [
        {"id": "p", "label": True, "lengths": [2], "logp": [-4.0]},
        {"id": "q", "label": False, "lengths": [2], "logp": [-5.0]},
    ]
    after = [row | {"logp": [row["logp"][0] - 1.0]} for row in rows]
    items = [{"id": "a", "tokens": 4, "logp": -8.0, "logp_start": -8.0}]
    start, policy = Evaluated(items, rows, []), Evaluated(items, after, [])
    assert metrics(policy) == {"length/generated": 4.0}
    found = against_start(start, policy, 1.0)
    assert (found["drift/chosen"], found["drift/rejected"]) == (-1.0, -1.0)
    assert "accuracy/drift" not in found and "win_rate/start" not in found
    columns = pair_columns(start, policy)
    assert columns["drift/chosen"] == [-1.0, None] and columns["drift/rejected"] == [None, -1.0]
    assert columns["correct/after"] == [None, None]
    assert item_columns(start, policy) is None


def test_the_tables_of_the_record() -> None:
    columns = pair_columns(START, POLICY)
    assert columns["logp/chosen/before"] == [-4.0, -5.0]
    assert columns["logp/chosen/after"] == [-5.0, -5.0]
    assert columns["drift/rejected"] == [-3.0, 0.0]
    assert columns["correct/before"] == [True, False] == columns["correct/after"]
    assert columns["edit_distance"] == [0.5, 1.0]
    items = item_columns(START, POLICY)
    assert items is not None
    assert items["reward/before"] == [0.5, 0.5] and items["reward/after"] == [0.75, 0.5]
    assert items["win"] == [1.0, 0.5]
    assert {len(column) for column in columns.values()} == {2}
    assert generation_rows(START, POLICY)[0] == {
        "id": "a", "prompt": "say a", "before": "a0.0", "after": "a1.0",
    }  # fmt: skip


def test_rows_of_different_prompts_are_refused() -> None:
    shorter = Evaluated(START.items[:1], START.pairs[:1], START.generations[:1])
    with pytest.raises(ValueError, match="zip"):
        generation_rows(START, shorter)


def test_pairs_token_by_token() -> None:
    row = {"id": "p", "label": None, "logp": [-3.0, -1.0], "first_difference": 1}
    before = row | {"logp_tokens": [[-1.0, -2.0], [-1.0]]}
    after = row | {"logp_tokens": [[-1.5, -0.5], [-2.0]]}
    alone = {"id": "q", "label": True, "logp": [-3.0], "logp_tokens": [[-3.0]]}
    start, policy = Evaluated([], [before, alone], []), Evaluated([], [after, alone], [])
    found = pair_token_columns(start, policy)
    assert found is not None
    assert found["id"] == ["p"]
    assert found["first_difference"].to_pylist() == [1]
    assert found["logp/chosen/before"].to_pylist() == [[-1.0, -2.0]]
    assert found["logp/chosen/after"].to_pylist() == [[-1.5, -0.5]]
    assert found["logp/rejected/after"].to_pylist() == [[-2.0]]
    assert pair_token_columns(Evaluated([], [alone], []), Evaluated([], [alone], [])) is None


@pytest.mark.parametrize(
    ("chosen", "rejected", "at"),
    [
        ([1, 2], [1, 3], 1),
        ([1, 2, 3], [1, 9, 3], 1),
        ([5], [6], 0),
        ([], [4], 0),
        ([1, 2], [1, 2, 3], 2),
        ([1, 2, 3], [1], 1),
        ([1, 2], [1, 2], None),
    ],
)
def test_the_first_token_that_differs(
    chosen: list[int], rejected: list[int], at: int | None
) -> None:
    assert _first_difference(chosen, rejected) == at
