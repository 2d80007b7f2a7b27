"""Judged evaluations of a finished run, from the command line: by an endpoint on this machine."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end import rows
from tests.end_to_end.commands import MICRO, Command, start
from tests.judges.server import KEY, Judge, judging, longer

QUESTIONS = [
    "send a short kind letter about the river .", "write a long plain note about the inn .",
    "write a short warm note about the bridge .", "send a long kind letter about the market .",
]  # fmt: skip


FREE = {"price_sent": 0, "price_written": 0}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def asked(judge: Judge, *evaluators: str, **settings: Any) -> list[str]:
    told = {"kind": "endpoint", "endpoint": judge.url, "model": "scripted", "repeats": 4,
            "price_sent": 1, "price_written": 2, **settings}  # fmt: skip
    names = ",".join(("generations", "gold", "pairs", *evaluators))
    return [*MICRO, f"evaluation.evaluators=[{names}]",
            *(f"evaluation.judge.{key}={value}" for key, value in told.items())]  # fmt: skip


def result(record: Path, evaluator: str) -> tuple[dict[str, float], Path]:
    """The metrics, and the folder of the evaluation that has this evaluator."""
    for file in record.glob("evaluations/*/result.json"):
        found = json.loads(file.read_text())
        if evaluator in found["evaluators"]:
            return found["metrics"], file.parent
    raise AssertionError(f"no result of {evaluator}")


def judgements(home: Path, evaluator: str) -> list[dict[str, Any]]:
    return [json.loads(line) for file in home.glob(f"artefacts/{evaluator}/*/judgements.jsonl")
            for line in file.read_text().splitlines()]  # fmt: skip


def test_head_to_head_and_the_table_below_a_check(
    home: Path, tiebreak: Command, tmp_path: Path
) -> None:
    with judging(key=KEY) as judge:
        words = asked(judge, "head_to_head")
        refused = tiebreak("run", *words)
        assert refused.code == 2 and "40 calls" in refused.err and "at most 0.0" in refused.err
        assert "confirm it with --yes" in refused.err and not judge.asked
        done = tiebreak("run", *words, "--yes")
        assert done.code == 0, done.err
        assert "stages: 2 built" in done.out
        metrics, folder = result(done.record, "head_to_head")
        items = pq.read_table(folder / "items" / "head_to_head.parquet").to_pydict()
        own, other = items["length/after"], items["length_other/after"]
        by_hand = [(a > b) + 0.5 * (a == b) for a, b in zip(own, other, strict=True)]
        assert items["win/after"] == by_hand
        assert metrics["head_to_head/win_rate"] == sum(by_hand) / 16
        assert (metrics["head_to_head/judged"], metrics["head_to_head/questions"]) == (16, 16)
        assert (metrics["head_to_head/repeated"], metrics["head_to_head/repeat_flips"]) == (4, 0)
        assert len(judgements(home, "head_to_head")) == 2 * (16 + 4)
        judge.asked.clear()
        again = tiebreak("run", *words, "--yes")
        assert "this run is done" in again.out and not judge.asked
        rows = [{"prompt": f"p{n}", "chosen": "a" * (n + 2), "rejected": "b" * (n + n % 2 * 4)}
                for n in range(20)]  # fmt: skip
        pairs = tmp_path / "pairs.jsonl"
        pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        never = tiebreak("table")
        assert "judge scripted" in never.out and "never checked against people" in never.out
        checked = tiebreak("judge", "check", "--data", str(pairs), *words, "--yes")
        assert checked.code == 0, checked.err
        assert "agrees            50.0 % of them" in checked.out
        judge.asked.clear()
        assert tiebreak("judge", "check", "--data", str(pairs), *words, "--yes").code == 0
        assert not judge.asked, "nothing is judged twice"
    table = tiebreak("table").out
    assert "head_to_head: n = 16 of 16" in table
    assert "agrees with people in 50 %" in table and "of 20 pairs of pairs.jsonl" in table
    kept = (p for p in home.rglob("*") if p.is_file() and p.suffix in (".json", ".jsonl", ".yaml"))
    assert not any(KEY in path.read_text() for path in kept)


def test_killed_while_it_judges_it_goes_on_where_it_was(home: Path) -> None:
    with judging(lambda prompt, seen: longer(prompt, 0) | {"wait": 0.15}) as judge:
        words = [*asked(judge, "head_to_head", concurrency=1), "--yes"]
        first = start(home, "run", *words)
        deadline = time.monotonic() + 120
        while judge.answered < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        (file,) = home.glob("artefacts/head_to_head/.*.work/judgements.jsonl")
        kept = file.read_text().count("\n")
        assert 4 <= kept < 40
        judge.script = longer
        second = start(home, "run", *words)
        out, err = second.communicate(timeout=300)
        assert second.returncode == 0, err
        assert len(judgements(home, "head_to_head")) == 40
        counts = Counter(judge.asked)
        told = {json.dumps([j["asked"], j["session"]]) for j in judgements(home, "head_to_head")}
        assert len(told) <= 40 and sum(counts.values()) <= 40 + 1, "one was in flight"


def test_a_judge_that_stops_answering_keeps_what_it_said(home: Path, tiebreak: Command) -> None:
    with judging() as judge:
        capped = asked(judge, "head_to_head", max_total_tokens=1500, max_tokens=10, concurrency=1)
        done = tiebreak("run", *capped, "--yes")
        assert done.code == 2 and "max_total_tokens=1500 is reached" in done.err
        kept = len(judge.asked)
        assert f"{kept} of 40 judgements are kept" in done.err and 0 < kept < 40
        open_ended = [word for word in capped if "max_total_tokens" not in word]
        assert tiebreak("run", *open_ended, "--yes").code == 0
        assert len(judge.asked) == 40


def test_a_wrong_key_is_one_line_before_anything_is_trained(
    tmp_path: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY")
    with judging() as judge:
        words = asked(judge, "head_to_head", endpoint="https://judge.example/v1")
    refused = tiebreak("run", *words, "--yes")
    assert refused.code == 2 and len(refused.err.splitlines()) == 1
    assert "no key for the judge: set the environment variable OPENAI_API_KEY" in refused.err
    assert not list(tmp_path.glob("artefacts/*"))


def test_benchmarks_from_files(home: Path, tiebreak: Command, tmp_path: Path) -> None:
    mt, asks, base = (tmp_path / name for name in ("mt.jsonl", "asks.jsonl", "base.json"))
    mt.write_text("".join(
        json.dumps({"id": 81 + n, "category": "writing" if n < 3 else "math",
                    "turns": [text, QUESTIONS[0]], "reference": ["the reference"]}) + "\n"
        for n, text in enumerate(QUESTIONS)
    ))  # fmt: skip
    asks.write_text("".join(json.dumps({"uid": f"u{n}", "prompt": text}) + "\n"
                            for n, text in enumerate(QUESTIONS)))  # fmt: skip
    base.write_text(json.dumps([{"instruction": text, "output": "the inn . " * n}
                                for n, text in enumerate(QUESTIONS)]))  # fmt: skip
    with judging() as judge:
        words = asked(judge, "mt_bench", "alpaca_eval", "arena_hard", **FREE)
        given = {"mt_bench": mt, "alpaca_eval": asks, "alpaca_eval_baseline": base,
                 "arena_hard": asks}  # fmt: skip
        files = [f"evaluation.{name}={file}" for name, file in given.items()]
        done = tiebreak("run", *words, *files)
        assert done.code == 0, done.err
        assert any("the reference" in prompt for prompt in judge.asked)
        first = len(judge.asked)
        # graded twice: 2 models, 8 answers, of which 4 again; compared: 2 models with the file, one
        # with the start model, 4 questions, both orders, all again
        assert first == 2 * (8 + 4) + 2 * 2 * 4 * 2 + 2 * 4 * 2
        metrics, folder = result(done.record, "mt_bench")
        answers = pq.read_table(folder / "items" / "mt_bench.parquet").to_pydict()
        assert answers["id"] == ["81", "82", "83", "84"]
        assert metrics["mt_bench/score"] == pytest.approx(sum(answers["score/after"]) / 4)
        assert metrics["mt_bench/math"] == answers["math/after"][3]
        assert answers["math/after"][:3] == [None] * 3
        assert metrics["mt_bench/turn_1"] != metrics["mt_bench/math"]
        assert 0 <= metrics["alpaca_eval/win_rate"] <= 1 and "arena_hard/win_rate" in metrics
        start_of = json.loads((folder / "result.json").read_text())["start"]["metrics"]
        assert "alpaca_eval/win_rate" in start_of and "arena_hard/win_rate" not in start_of
        told = tiebreak(
            "table", "--metrics", "mt_bench/score,mt_bench/writing,alpaca_eval/win_rate"
        )
        assert "not used item by item" not in told.out and "mt_bench: n = 4 of 4" in told.out
        asks.write_text(asks.read_text().replace("the river", "the inn"))
        assert tiebreak("run", *words, *files).code == 2, "the baseline has no such question"


def test_a_given_checkpoint_is_not_judged_before_its_price_is_confirmed(
    home: Path, prepared: Path, tiebreak: Command, tmp_path: Path
) -> None:
    pairs = rows.pairs(6)
    rows.write(tmp_path / "pairs.jsonl", pairs[:3])
    rows.write(tmp_path / "test.jsonl", pairs[3:])
    folder = rows.checkpoint(prepared, tmp_path / "model")
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"id": 1, "category": "writing", "turns": QUESTIONS[:2]}))
    with judging(key=KEY) as judge:
        judged = asked(judge, "mt_bench")
        words = ["evaluate", str(folder), f"data={tmp_path / 'pairs.jsonl'}", "evaluation=short",
                 f"data.test={tmp_path / 'test.jsonl'}", "evaluation.num_prompts=2",
                 "evaluation.evaluators=[mt_bench]", f"evaluation.mt_bench={questions}",
                 "tracker=none", "evaluation.max_new_tokens=4",
                 *(one for one in judged if one.startswith("evaluation.judge."))]  # fmt: skip
        refused = tiebreak(*words)
        assert refused.code == 2 and "confirm it with --yes" in refused.err, refused.err
        assert not judge.asked
        assert tiebreak(*words, "--yes").code == 0
        assert judge.asked
