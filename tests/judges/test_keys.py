"""What a judge's settings change: the keys of evaluators that ask it, and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.config.quick import quick
from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.judges.spending import Spending
from tiebreak.run.execute import ready_to_judge
from tiebreak.stages.evaluators import EVALUATORS

JUDGED = (
    "evaluation.evaluators=[generations,head_to_head]", "evaluation.judge.kind=endpoint",
    "evaluation.judge.endpoint=http://127.0.0.1:9/v1", "evaluation.judge.model=m",
)  # fmt: skip


def keys(run: Run) -> dict[str, str]:
    return {f"{stage.name} {stage.what}": stage.key for stage in run.plan.stages()}


@pytest.mark.parametrize(
    "change",
    ["model=other", "endpoint=http://127.0.0.1:8/v1", "revision=r1", "temperature=0.5",
     "max_tokens=100", "repeats=7", "sessions=2"],
)  # fmt: skip
def test_who_judges_and_how_it_is_asked(change: str) -> None:
    before, after = quick(*JUDGED), quick(*JUDGED, f"evaluation.judge.{change}")
    was, now = keys(before), keys(after)
    assert {name for name in was if was[name] != now[name]} == {
        "head_to_head start model", "head_to_head policy",
    }  # fmt: skip
    assert before.evaluators["head_to_head"] != after.evaluators["head_to_head"]
    assert before.evaluators["generations"] == after.evaluators["generations"]
    assert before.evaluation_id != after.evaluation_id and before.run_id == after.run_id


@pytest.mark.parametrize(
    "change",
    ["price_sent=1.0", "price_written=1.0", "max_cost=3.0", "max_total_tokens=9", "confirmed=true",
     "concurrency=2", "timeout=3.0", "retries=0", "key_variable=OTHER", "batch_size=2",
     "reply=written", "sessions=1"],
)  # fmt: skip
def test_what_is_no_part_of_a_verdict(change: str) -> None:
    before, after = quick(*JUDGED), quick(*JUDGED, f"evaluation.judge.{change}")
    assert keys(before) == keys(after) and before.evaluation_id == after.evaluation_id


def test_a_pinned_judge_may_move() -> None:
    """Whoever gives a revision says what is behind the address."""
    pinned = (*JUDGED, "evaluation.judge.revision=r1")
    assert keys(quick(*pinned)) == keys(
        quick(*pinned, "evaluation.judge.endpoint=http://127.0.0.1:8/v1")
    )


def test_no_judge_leaves_everything_as_it_was() -> None:
    assert quick().evaluation_id == quick("evaluation.judge.kind=none").evaluation_id
    one = quick("evaluation.judge.kind=gold")
    assert keys(one) == keys(quick()), "nobody asks it"


def test_questions_count_by_their_content(tmp_path: Path) -> None:
    file, other = tmp_path / "q.jsonl", tmp_path / "r.jsonl"
    file.write_text(json.dumps({"id": 1, "instruction": "why?"}) + "\n")
    other.write_text(file.read_text())
    asked = ("evaluation.evaluators=[alpaca_eval]", "evaluation.judge.kind=gold")
    before = keys(quick(*asked, f"evaluation.alpaca_eval={file}"))
    assert {name.split()[0] for name in before} >= {"alpaca_eval", "alpaca_eval_answers"}
    moved = keys(quick(*asked, f"evaluation.alpaca_eval={tmp_path}/[r].jsonl"))
    assert len(set(moved) & set(before)) == len(before)
    file.write_text(json.dumps({"id": 1, "instruction": "why not?"}) + "\n")
    after = keys(quick(*asked, f"evaluation.alpaca_eval={file}"))
    assert {name.split()[0] for name in before if before[name] != after[name]} == {
        "alpaca_eval", "alpaca_eval_answers",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["evaluation.evaluators=[head_to_head]"], "needs a judge; give evaluation.judge.kind"),
        (["evaluation.evaluators=[mt_bench]", "evaluation.judge.kind=gold"],
         "give evaluation.mt_bench=FILE"),
        ([*JUDGED, "evaluation.judge.model=null"], "needs evaluation.judge.model"),
        (["evaluation.evaluators=[head_to_head]", "evaluation.judge.kind=local"],
         "needs evaluation.judge.model"),
        (["evaluation.evaluators=[head_to_head]", "evaluation.judge.kind=local",
          "evaluation.judge.model=./none"], "no such folder"),
        (["evaluation.judge.kind=gpt"], "evaluation.judge.kind='gpt' is not one of"),
        (["evaluation.judge.timeout=0"], "must be above 0"),
        (["evaluation.judge.sessions=0"], "must be above 0"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        quick(*overrides)


def test_the_price_counts_whoever_is_judged(tmp_path: Path) -> None:
    """A start model is graded, and compared with a file's answers, and with nobody else's."""
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"id": 1, "turns": ["a", "b"]}) + "\n")
    single = tmp_path / "single.jsonl"
    single.write_text(json.dumps({"id": 1, "prompt": "a"}) + "\n")
    run = quick(*JUDGED, f"evaluation.mt_bench={file}", f"evaluation.alpaca_eval={single}",
                "evaluation.judge.repeats=0")  # fmt: skip
    based = quick(*JUDGED, f"evaluation.alpaca_eval={single}", "evaluation.judge.repeats=0",
                  f"evaluation.alpaca_eval_baseline={single}")  # fmt: skip

    def calls(name: str, of: Run = run) -> tuple[float, float]:
        of_each = EVALUATORS[name].calls
        assert of_each is not None
        return of_each(of, False)[0], of_each(of, True)[0]

    assert calls("mt_bench") == (2, 2) and calls("mt_bench_pairwise") == (0, 4)
    assert calls("alpaca_eval") == (0, 2) and calls("alpaca_eval", based) == (2, 2)
    assert calls("head_to_head")[0] == 0 < calls("head_to_head")[1]


def test_a_baseline_of_mt_bench_is_one_of_pairs_alone(tmp_path: Path) -> None:
    file, base = tmp_path / "questions.jsonl", tmp_path / "base.jsonl"
    file.write_text(json.dumps({"id": 1, "turns": ["a", "b"]}) + "\n")
    base.write_text(json.dumps({"id": 1, "answer": ["x", "y"]}) + "\n")
    asked = ("evaluation.evaluators=[mt_bench,mt_bench_pairwise]", "evaluation.judge.kind=gold",
             f"evaluation.mt_bench={file}")  # fmt: skip
    before, after = quick(*asked), quick(*asked, f"evaluation.mt_bench_baseline={base}")
    was, now = keys(before), keys(after)
    assert {name for name in was if was[name] != now[name]} == {
        "mt_bench_pairwise start model", "mt_bench_pairwise policy",
    }  # fmt: skip
    assert before.evaluation_id == after.evaluation_id


def test_a_sweep_is_told_its_price_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    priced = (*JUDGED, "evaluation.judge.price_sent=1", "evaluation.judge.price_written=1",
              "evaluation.judge.repeats=0", "evaluation.num_prompts=10")  # fmt: skip
    runs = [quick(*priced, f"seed={seed}") for seed in (1, 2, 3)]
    with pytest.raises(UserError, match="60 calls.*confirm it with --yes"):
        ready_to_judge(runs)
    capped = ("evaluation.judge.confirmed=true", "evaluation.judge.max_cost=0.5")
    Spending(runs[0].evaluation.judge).reserve(1000, 24)
    (words,) = ready_to_judge([quick(*priced, *capped, f"seed={seed}") for seed in (1, 2, 3)])
    assert "judge m: 60 calls" in words and "spent in this home before: 0.00, 1,024 tok" in words
    assert words.endswith("evaluation.judge.max_cost=0.5 ends it")
    other = quick(*priced, *capped, "evaluation.judge.model=n")
    assert len(ready_to_judge([*runs[:0], other, quick(*priced, *capped)])) == 2
    assert ready_to_judge([quick()]) == []
