"""Every judged evaluator in one run, by a judge that fails in all ways, killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.commands import Command, start
from tests.end_to_end.test_judged import FREE, QUESTIONS, asked, judgements, result
from tests.judges.server import KEY, Judge, Said, judging, longer
from tiebreak.metrics import evaluation_metric

EVALUATORS = ("head_to_head", "mt_bench", "mt_bench_pairwise", "alpaca_eval", "arena_hard")
ALWAYS: list[tuple[str, Said]] = [
    ("unparseable", {"content": "blue, obviously"}),
    ("refused", {"content": "I'm sorry, I cannot compare these."}),
    ("truncated", {"content": "Let me think about", "finish": "length"}),
    ("unparseable", {"content": 'I think {"better": "A'}),
    ("unparseable", {"body": '{"choices": [{"mess'}),
    ("error", {"status": 400, "body": "too long"}),
]
PASSES: list[Said] = [{"status": 429, "headers": {"retry-after": "0.01"}}, {"status": 503}]
KINDS = 30


def kind(prompt: str) -> int:
    return int(sha256(prompt.encode()).hexdigest(), 16) % KINDS


def unreliable(prompt: str, seen: int) -> Said:
    at = kind(prompt)
    if at < len(ALWAYS):
        return ALWAYS[at][1]
    if at < len(ALWAYS) + len(PASSES) and not seen:
        return PASSES[at - len(ALWAYS)]
    return {"wait": 2.5} if at == KINDS - 1 else longer(prompt, 0)


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    mt, asks, pairs = (tmp_path / name for name in ("mt.jsonl", "asks.jsonl", "base.jsonl"))
    mt.write_text("".join(
        json.dumps({"id": 81 + n, "category": "writing" if n < 2 else "math",
                    "turns": [text, QUESTIONS[0]]}) + "\n"
        for n, text in enumerate(QUESTIONS)
    ))  # fmt: skip
    asks.write_text("".join(
        json.dumps({"uid": f"u{n}", "prompt": text,
                    "category": "hard_prompt" if n % 2 else "creative_writing"}) + "\n"
        for n, text in enumerate(QUESTIONS)
    ))  # fmt: skip
    pairs.write_text("".join(
        json.dumps({"question_id": 81 + n, "choices": [{"turns": ["the inn . " * n, "so ."]}]})
        + "\n" for n in range(4)
    ))  # fmt: skip
    return [f"evaluation.{name}={file}" for name, file in
            {"mt_bench": mt, "mt_bench_baseline": pairs, "alpaca_eval": asks,
             "arena_hard": asks}.items()]  # fmt: skip


def words(judge: Judge, questions: list[str], **more: Any) -> list[str]:
    how = {**FREE, "repeats": 0, "timeout": 1, "retries": 1, "concurrency": 3, **more}
    return [*asked(judge, *EVALUATORS, **how), *questions]


def all_judgements(home: Path) -> list[dict[str, Any]]:
    return [row for name in EVALUATORS for row in judgements(home, name)]


def test_every_failure_is_counted_and_nothing_is_judged_twice(
    home: Path, tiebreak: Command, questions: list[str]
) -> None:
    with judging(lambda prompt, seen: {"wait": 0.1, **unreliable(prompt, seen)}) as judge:
        told = words(judge, questions)
        first = start(home, "run", *told)
        deadline = time.monotonic() + 300
        while judge.answered < 40 and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        assert 30 < len(list_of_kept(home)), "it was killed in the middle"
        done = tiebreak("run", *told)
        assert done.code == 0, done.err
    found = all_judgements(home)
    # head to head: 16 prompts; graded: 2 models, 8 answers; pairs of 8 answers with the file's: 2
    # models; 4 questions of two benchmarks against the start model; all but grades in both orders
    assert len(found) == 2 * 16 + 2 * 8 + 2 * 2 * 8 + 2 * 2 * 4
    requests = Counter(kind(prompt) for prompt in judge.asked)
    in_flight = 3
    for status in ("unparseable", "refused", "truncated", "error"):
        sent = sum(requests[at] for at, (name, _) in enumerate(ALWAYS) if name == status)
        assert 0 <= sent - sum(row["status"] == status for row in found) <= in_flight
    timed_out = sum(row["status"] == "timed-out" for row in found)
    assert 0 <= requests[KINDS - 1] - 2 * timed_out <= 2 * in_flight
    answered = sum(row["status"] == "ok" for row in found)
    fine = [prompt for prompt in judge.asked
            if len(ALWAYS) + len(PASSES) <= kind(prompt) < KINDS - 1]  # fmt: skip
    assert answered >= len(fine) - in_flight > 40, "what was answered is not asked again"
    check_record(done.record, found)
    table = tiebreak("table", "--metrics", "mt_bench/score,mt_bench_pairwise/win_rate").out
    assert "mt_bench_pairwise: n = " in table and "not used item by item" not in table


def list_of_kept(home: Path) -> list[str]:
    files = home.glob("artefacts/*/*/judgements.jsonl")
    return [line for file in files for line in file.read_text().splitlines()]


def check_record(record: Path, found: list[dict[str, Any]]) -> None:
    """Metrics are the means of their columns, over the questions that could be judged."""
    metrics, folder = result(record, "mt_bench_pairwise")
    failed = 0
    for name in EVALUATORS:
        columns = pq.read_table(folder / "items" / f"{name}.parquet").to_pydict()
        for metric, value in metrics.items():
            known = evaluation_metric(metric)
            if known.evaluator == name and known.items:
                (column,) = known.item_columns("after")
                values = [one for one in columns[column] if one is not None]
                assert sum(values) / len(values) == pytest.approx(value), metric
        failed += sum(len(one.split()) for when in ("before", "after")
                      for one in columns.get(f"failed/{when}", []))  # fmt: skip
        judged = [one for one in columns["failed/after"] if not one]
        assert metrics[f"{name}/judged"] == len(judged)
    assert failed == sum(row["status"] != "ok" for row in found)
    assert {row["status"] for row in found} >= {"ok", "unparseable"}


def test_a_cap_is_one_for_all_runs_of_a_home(
    home: Path, tiebreak: Command, questions: list[str]
) -> None:
    with judging() as judge:
        most = 6000
        capped = words(judge, questions, max_total_tokens=most, max_tokens=10, concurrency=1)
        stopped = tiebreak("run", *capped)
        assert stopped.code == 2 and f"max_total_tokens={most} is reached" in stopped.err
        kept = len(judge.asked)
        assert 0 < kept < 96 and len(list_of_kept(home)) == kept
        other = tiebreak("run", *capped, "method=kto")
        assert other.code == 2 and f"max_total_tokens={most} is reached" in other.err
        more = len(judge.asked) - kept  # shorter calls may still fit
        assert more <= 3 and 110 * len(judge.asked) <= most, "what another run spent counts"
        done = tiebreak("run", *words(judge, questions, max_tokens=10, concurrency=1))
        assert done.code == 0 and len(judge.asked) == len(list_of_kept(home)) == 96 + more
