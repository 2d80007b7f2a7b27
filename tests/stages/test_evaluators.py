"""Each evaluator's rows of two models, by hand, to metrics and to the files of a record."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.quick import quick
from tiebreak.errors import UserError
from tiebreak.stages.evaluators import EVALUATORS, generations, gold, pairs

Rows = list[dict[str, Any]]


def answers(shift: float = 0.0) -> Rows:
    return [
        {"id": "a", "prompt": "say a", "response": f"a{shift}", "tokens": 4, "logp": -8.0 + shift,
         "logp_start": -8.0},
        {"id": "b", "prompt": "say b", "response": f"b{shift}", "tokens": 6, "logp": -6.0 + shift,
         "logp_start": -6.0},
    ]  # fmt: skip


def rewards(first: float) -> Rows:
    return [{"id": "a", "gold/reward": first}, {"id": "b", "gold/reward": 0.5}]


def held_out(shift: float = 0.0) -> Rows:
    return [
        {"id": "p", "label": None, "lengths": [2, 4], "logp": [-4.0 - shift, -6.0 - 3 * shift],
         "edit_distance": 0.5},
        {"id": "q", "label": None, "lengths": [2, 8], "logp": [-5.0, -4.0], "edit_distance": 1.0},
    ]  # fmt: skip


def test_metrics_of_one_model() -> None:
    assert generations.metrics(answers()) == {"length/generated": 5.0}
    assert gold.metrics(rewards(0.5)) == {"gold/reward": 0.5}
    assert pairs.metrics(held_out()) == {
        "accuracy/likelihood": 0.5,  # -4 > -6, -5 < -4
        "accuracy/likelihood_per_token": 0.0,  # -2 < -1.5, -2.5 < -0.5
    }


def test_metrics_against_the_start_model() -> None:
    assert generations.compared(answers(), answers(1.0), quick()) == {"kl/reference": 1.0}
    assert gold.compared(rewards(0.5), rewards(0.75), quick()) == {
        "win_rate/start": 0.75,  # one win, one tie
    }
    assert pairs.compared(held_out(), held_out(1.0), quick()) == {
        "drift/chosen": -0.5,
        "drift/rejected": -1.5,
        "displaced/share": 0.5,
        "accuracy/drift": 0.75,  # -1 > -3, and a tie
    }


def test_a_model_against_itself_is_nothing() -> None:
    assert generations.compared(answers(), answers(), quick()) == {"kl/reference": 0.0}
    assert gold.compared(rewards(1.0), rewards(1.0), quick()) == {"win_rate/start": 0.5}
    assert pairs.compared(held_out(), held_out(), quick()) == {
        "drift/chosen": 0.0, "drift/rejected": 0.0, "displaced/share": 0.0, "accuracy/drift": 0.5,
    }  # fmt: skip


def test_answers_at_another_temperature_estimate_no_divergence() -> None:
    run = quick("evaluation.temperature=0.5")
    assert generations.compared(answers(), answers(1.0), run) == {}


def test_unpaired_rows_count_on_their_side() -> None:
    start: Rows = [
        {"id": "p", "label": True, "lengths": [2], "logp": [-4.0]},
        {"id": "q", "label": False, "lengths": [2], "logp": [-5.0]},
    ]
    policy = [row | {"logp": [row["logp"][0] - 1.0]} for row in start]
    assert pairs.metrics(policy) == {}
    found = pairs.compared(start, policy, quick())
    assert (found["drift/chosen"], found["drift/rejected"]) == (-1.0, -1.0)
    assert "accuracy/drift" not in found
    columns = pairs.pair_columns(start, policy)
    assert columns["drift/chosen"] == [-1.0, None] and columns["drift/rejected"] == [None, -1.0]
    assert columns["correct/after"] == [None, None]
    assert set(pairs.files(start, policy)) == {"pairs.parquet"}


def test_the_files_of_the_record() -> None:
    columns = pairs.pair_columns(held_out(), held_out(1.0))
    assert columns["logp/chosen/before"] == [-4.0, -5.0]
    assert columns["logp/chosen/after"] == [-5.0, -5.0]
    assert columns["drift/rejected"] == [-3.0, 0.0]
    assert columns["correct/before"] == [True, False] == columns["correct/after"]
    assert columns["edit_distance"] == [0.5, 1.0]
    assert {len(column) for column in columns.values()} == {2}
    items = gold.files(rewards(0.5), rewards(0.75))["items/gold.parquet"]
    assert items["reward/before"] == [0.5, 0.5] and items["reward/after"] == [0.75, 0.5]
    assert items["win"] == [1.0, 0.5]
    written = generations.files(answers(), answers(1.0))
    assert written["items/generations.parquet"]["tokens/after"] == [4, 6]
    assert written["generations.jsonl"][0] == {
        "id": "a", "prompt": "say a", "before": "a0.0", "after": "a1.0",
    }  # fmt: skip


def test_rows_of_different_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        generations.files(answers()[:1], answers())


def test_pairs_token_by_token() -> None:
    row = {"id": "p", "label": None, "logp": [-3.0, -1.0], "lengths": [2, 1], "first_difference": 1}
    before = row | {"logp_tokens": [[-1.0, -2.0], [-1.0]]}
    after = row | {"logp_tokens": [[-1.5, -0.5], [-2.0]]}
    alone = {"id": "q", "label": True, "logp": [-3.0], "lengths": [1], "logp_tokens": [[-3.0]]}
    found = pairs.files([before, alone], [after, alone])["pair_tokens.parquet"]
    assert found["id"] == ["p"]
    assert found["first_difference"].to_pylist() == [1]
    assert found["logp/chosen/before"].to_pylist() == [[-1.0, -2.0]]
    assert found["logp/chosen/after"].to_pylist() == [[-1.5, -0.5]]
    assert found["logp/rejected/after"].to_pylist() == [[-2.0]]


def test_an_unknown_evaluator_is_named_with_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"unknown evaluator 'gould' \(nearest: 'gold'\); there are"
    ):
        quick("evaluation.evaluators=[gould]")


def test_what_an_evaluator_needs_comes_with_it() -> None:
    assert list(quick("evaluation.evaluators=[gold]").plan.evaluations) == ["generations", "gold"]
    assert set(quick().evaluators) == {"generations", "gold", "pairs"} < set(EVALUATORS)


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
    assert pairs.first_difference(chosen, rejected) == at


def ids_of(*overrides: str) -> tuple[str, dict[str, str], set[str]]:
    run = quick(*overrides)
    return run.evaluation_id, run.evaluators, {stage.key for stage in run.plan.stages()}


def test_where_random_numbers_come_from_names_sampled_answers_and_no_others() -> None:
    greedy, sampled = "evaluation.temperature=0", "evaluation.temperature=0.7"
    item, stream = "evaluation.sampling=item", "evaluation.sampling=stream"
    assert ids_of(greedy, item) == ids_of(greedy, stream)
    of_item, of_stream = quick(sampled, item), quick(sampled, stream)
    assert of_item.run_id == of_stream.run_id
    assert of_item.evaluation_id != of_stream.evaluation_id
    changed = {name for name, key in of_item.evaluators.items()
               if key != of_stream.evaluators[name]}  # fmt: skip
    assert changed == {"generations", "gold"}, "and pairs, which writes nothing, stays"
