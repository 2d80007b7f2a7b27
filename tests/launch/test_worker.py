"""Worker processes that die, and what is left of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tiebreak.config.compose import compose
from tiebreak.config.schema import Run
from tiebreak.launch import pool
from tiebreak.launch.pool import Pool, Worker
from tiebreak.launch.sweep import sweep
from tiebreak.launch.tasks import Grid, Report, Task


@pytest.fixture(scope="module")
def run() -> Run:
    return compose(["tracker=none"])


def pretend(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(pool, "command", lambda what: [sys.executable, "-c", script])


def test_a_process_that_dies_is_named_and_replaced(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "import os; input(); os.kill(os.getpid(), 9)")
    with Worker() as worker:
        for _ in range(2):
            assert worker.do(Task(run)) == {
                "error": "its process was killed by signal 9 (out of memory?)"
            }


def test_a_process_that_answers_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, json, os\n"
        "for line in sys.stdin:\n"
        "    seed = json.loads(line)['run']['seed']\n"
        "    print(json.dumps({'artefacts': [['sft', str(os.getpid()), False]], 'seed': seed}))\n"
        "    sys.stdout.flush()"
    )
    pretend(monkeypatch, script)
    with Worker() as worker:
        answers = [worker.do(Task(run)) for _ in range(2)]
    assert answers[0] == answers[1] and answers[0]["seed"] == 1


def test_a_sweep_goes_on_after_a_death(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    pretend(
        monkeypatch,
        "import sys, json, os\n"
        "for line in sys.stdin:\n"
        "    if json.loads(line)['run']['seed'] == 2: os._exit(3)\n"
        "    print(json.dumps({'artefacts': [['sft', 'a', False]]}), flush=True)",
    )
    said: list[str] = []
    runs = [compose(["tracker=none", f"seed={seed}"]) for seed in (1, 2, 3)]
    report = sweep("mine", Grid(runs), Pool(1), said.append)
    assert [(r.seed, why) for r, why in report.failed] == [
        (2, "its process ended with code 3; its trace is in the record's error.txt")
    ]
    assert report.stages() == {"sft": (1, 0)}
    assert [line[:5] for line in said] == ["[1/3]", "[2/3]", "[3/3]"]


def test_a_report_counts_an_artefact_once() -> None:
    report = Report(total=3)
    report.artefacts = {("sft", "a"): False, ("sft", "b"): True, ("align", "c"): False}
    assert report.stages() == {"align": (1, 0), "sft": (1, 1)}
