"""Worker processes that die, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tiebreak.cli.printing import describe_report
from tiebreak.compose import Run, compose
from tiebreak.sweep.engines import local as pool
from tiebreak.sweep.engines.local import Pool, Worker
from tiebreak.sweep.tasks import Grid, State, SweepResult, Task, Tasks, Told, standings, sweep


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def run() -> Run:
    return compose(["tracker=none"])


def pretend(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(pool, "command", lambda what: [sys.executable, "-c", script])


def test_a_process_that_dies_is_named_and_replaced(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "import os; input(); os.kill(os.getpid(), 9)")
    words = "its process was killed by signal 9 (out of memory?)"
    with closing(Worker()) as worker:
        for _ in range(2):
            assert worker.do(Task(run)) == {"error": words}
    found = standings([run])[0]  # it never came so far as to open a record; retry must know it
    assert (found.state, found.error) == (State.FAILED, words)


def test_a_stopped_process_is_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody told one worker to stop, not the sweep: the next task gets another."""
    pretend(
        monkeypatch,
        "import sys, json, os\n"
        "seed = json.loads(input())['run']['seed']\n"
        "print(json.dumps({'stopped': True} if seed == 1 else {'artefacts': []}), flush=True)",
    )
    with closing(Worker()) as worker:
        assert worker.do(Task(run)) == {"stopped": True}
        assert worker.do(Task(compose(["tracker=none", "seed=2"]))) == {"artefacts": []}


def test_a_worker_told_to_stop_before_its_process_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "import time; time.sleep(60)")
    worker = Worker()
    start = worker._start

    def told_meanwhile() -> subprocess.Popen[str]:
        worker.stop()
        return start()

    monkeypatch.setattr(worker, "_start", told_meanwhile)
    with closing(worker):
        began = time.monotonic()
        assert worker.do(Task(run)) == worker.do(Task(run)) == {"stopped": True}
    assert time.monotonic() - began < 30
    assert standings([run])[0].state is State.WAITING


def test_a_sweep_told_to_stop_between_two_runs_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in hand then, and yet it is not through."""
    runs = [compose(["tracker=none", f"seed={seed}"]) for seed in (1, 2, 3)]

    class Engine:
        def run(self, tasks: Tasks, told: Told) -> None:
            task = tasks.next()
            assert task is not None
            tasks.answer(task, {"artefacts": []})
            os.kill(os.getpid(), signal.SIGTERM)
            assert self.stopped.wait(30)

        def __init__(self) -> None:
            self.stopped = threading.Event()

        def stop(self) -> None:
            self.stopped.set()

    said: list[str] = []
    report = sweep("mine", Grid(runs), Engine(), said.append)
    assert report.interrupted and (report.done, report.stopped, report.left) == (1, 0, 2)
    assert said == ["stopping: the runs in hand save a checkpoint; the same command goes on"]
    assert next(describe_report(report)) == (
        "3 runs: 1 done now, 0 finished before, 0 failed, 2 not begun"
    )


def test_an_answer_that_cannot_be_told_ends_the_sweep(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tiebreak sweep | head` closes the pipe: the other worker must not wait for ever."""
    pretend(
        monkeypatch,
        "import sys\nfor line in sys.stdin: print('{\"artefacts\": []}', flush=True)",
    )
    runs = [compose(["tracker=none", f"seed={seed}"]) for seed in (1, 2, 3)]

    def say(line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        sweep("mine", Grid(runs), Pool(2), say)


def test_a_process_that_answers_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, json, os\n"
        "for line in sys.stdin:\n"
        "    seed = json.loads(line)['run']['seed']\n"
        "    print(json.dumps({'artefacts': [['sft', str(os.getpid()), False]], 'seed': seed}))\n"
        "    sys.stdout.flush()"
    )
    pretend(monkeypatch, script)
    with closing(Worker()) as worker:
        answers = [worker.do(Task(run)) for _ in range(2)]
    assert answers[0] == answers[1] and answers[0]["seed"] == 1


def test_a_sweep_goes_on_after_a_death(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
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
    report = SweepResult(total=3)
    report.artefacts = {("sft", "a"): False, ("sft", "b"): True, ("align", "c"): False}
    assert report.stages() == {"align": (1, 0), "sft": (1, 1)}
