"""Told to stop: runs save a checkpoint, say so, and the same command goes on from that step."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.commands import (
    BASE,
    MICRO,
    Answer,
    Command,
    call,
    differing,
    only_run,
    read_json,
    read_lines,
    start,
)
from tiebreak.compose import compose
from tiebreak.run.execute import execute
from tiebreak.sweep.sweep_file import read_sweep_file
from tiebreak.sweep.tasks import State, standings

pytestmark = pytest.mark.slow  # minutes on two busy cores; `make prove` runs it

# Long enough to be stopped again and again, and seldom saved unless told to stop.
LONG = [*BASE, "train.epochs=6", "train.execution.checkpoint_every=1000"]
STEPS = 36
Seen = Callable[[], bool]


def answer_when(seen: Seen, process: subprocess.Popen[str], act: Callable[[], object]) -> Answer:
    """Wait for the moment, act on the process, and take what it says."""
    while not seen():
        assert process.poll() is None, f"ended before it was stopped: {process.communicate()}"
        time.sleep(0.005)
    act()
    out, err = process.communicate(timeout=60)
    return Answer(process.returncode, out, err)


def trained(home: Path, key: str = "*") -> int:
    """Steps that the policies in training have logged."""
    steps = 0
    for path in glob.glob(f"{home}/artefacts/align/.{key}.work/metrics.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            steps += Path(path).read_bytes().count(b"\n")
    return steps


def stopped_at(folder: Path) -> int:
    """The step a record says its run was stopped at, after checking that it is saved there."""
    status = read_json(folder / "status.json")
    assert status["status"] == "stopped", status
    assert "the same command goes on" in status["error"]
    assert (status["stage"], status["steps"]) == ("align", STEPS)
    saved = folder.parents[1] / "artefacts" / status["last_checkpoint"]
    assert saved.name == f"checkpoint-{status['step']}" and (saved / "complete.json").is_file()
    assert [row["step"] for row in read_lines(folder / "metrics.jsonl")][-1] == status["step"]
    return status["step"]


@pytest.fixture
def fresh(prepared: Path, tmp_path: Path) -> Path:
    """The pretrained model and nothing after it."""
    home = tmp_path / "fresh"
    shutil.copytree(prepared / "artefacts" / "pretrain", home / "artefacts" / "pretrain")
    return home


def test_a_sweep_stopped_in_three_ways(
    fresh: Path, home: Path, tmp_path: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(fresh))
    fixed = dict(one.split("=", 1) for one in LONG)
    path = tmp_path / "long.yaml"
    study = {"axes": {"method": ["dpo", "ipo"]}, "fixed": fixed,
             "settings": {"ipo": {"train.max_steps": 1}}}  # fmt: skip
    path.write_text(yaml.safe_dump(study))
    sweep = ("sweep", str(path), "--workers", "1")
    dpo, ipo = (fresh / "runs" / run.run_id for run in read_sweep_file(str(path)).runs())

    process = start(fresh, *sweep)
    first = answer_when(lambda: trained(fresh) >= 5, process,
                        lambda: tiebreak("stop", str(path)))  # fmt: skip
    assert first.code == 143 and "Traceback" not in first.err
    assert "stopping: the runs in hand save a checkpoint; the same command goes on" in first.out
    assert re.search(r"\[1/2\] .* dpo .*: stopped\n", first.out)
    said = "2 runs: 0 done now, 0 finished before, 0 failed, 1 stopped, 1 not begun\n"
    assert said in first.out
    command = shlex.join(["tiebreak", *sweep])
    assert first.out.splitlines()[-1] == f"stopped: 0 of 2 runs are done; go on with: {command}"
    at = stopped_at(dpo)
    assert 5 <= at < STEPS and not ipo.exists()
    assert "long: 2 runs: 1 stopped, 1 waiting" in tiebreak("status", str(path)).out
    assert tiebreak("stop", str(path)).out == "no sweep of long is running\n"

    process = start(fresh, *sweep)  # SIGTERM to the sweep alone, as `kill` sends it
    second = answer_when(lambda: trained(fresh) >= at + 5, process, process.terminate)
    assert second.code == 143 and "Traceback" not in second.err
    assert f"resumed from the checkpoint at step {at} of {STEPS}" in second.err
    at, before = stopped_at(dpo), at
    assert before + 5 <= at < STEPS

    process = start(fresh, *sweep)  # to everybody at once, as Ctrl-C and schedulers do
    third = answer_when(lambda: trained(fresh) >= at + 5, process,
                        lambda: os.killpg(process.pid, signal.SIGINT))  # fmt: skip
    assert third.code == 143 and "Traceback" not in third.err
    assert f"resumed from the checkpoint at step {at} of {STEPS}" in third.err
    at, before = stopped_at(dpo), at
    assert before + 5 <= at < STEPS

    last = call(fresh, *sweep)
    assert last.code == 0, last.err
    assert f"resumed from the checkpoint at step {at} of {STEPS}" in last.err
    assert "2 runs: 2 done now, 0 finished before, 0 failed\n" in last.out
    monkeypatch.setenv("TIEBREAK_HOME", str(home))
    undisturbed = tiebreak("run", *LONG, "method=dpo")
    assert undisturbed.record.name == dpo.name and undisturbed.record != dpo
    assert differing(undisturbed.record, dpo) == []
    steps = [row["step"] for row in read_lines(dpo / "throughput.jsonl")]
    assert steps == list(range(1, STEPS + 1))


def test_a_run_told_to_stop(
    fresh: Path, home: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(fresh))
    process = start(fresh, "run", *LONG)

    # The scheduler's way: to the whole group, and once more.
    def twice() -> None:
        os.killpg(process.pid, signal.SIGTERM)
        os.killpg(process.pid, signal.SIGTERM)

    first = answer_when(lambda: trained(fresh) >= 5, process, twice)
    assert first.code == 143
    command = shlex.join(["tiebreak", "run", *LONG])
    assert first.err.splitlines()[-1] == f"tiebreak: stopped; go on with: {command}"
    assert "Traceback" not in first.err
    at = stopped_at(only_run(fresh))
    listed = tiebreak("runs").out
    assert "stopped   align-from-base" in listed and f"at step {at} of {STEPS}" in listed

    process = start(fresh, "run", *LONG)  # while it is not training: at once
    second = answer_when(lambda: read_status(fresh) == "running", process, process.terminate)
    assert second.code == 143 and "Traceback" not in second.err

    last = tiebreak("run", *LONG)
    assert last.code == 0, last.err
    assert re.search(rf"resumed from the checkpoint at step {at} of {STEPS}", last.out)
    monkeypatch.setenv("TIEBREAK_HOME", str(home))
    undisturbed = tiebreak("run", *LONG)
    assert differing(undisturbed.record, last.record) == []


def read_status(home: Path) -> str:
    return read_json(only_run(home) / "status.json")["status"]


def test_a_closed_output_is_no_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiebreak sweep | head`: nothing is wrong with the run that was talking."""
    run = compose([*MICRO, "method=ipo"])
    monkeypatch.setattr("tiebreak.run.execute.token_lines", lambda run, store: ["anything"])

    def say(line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        execute(run, say)
    found = standings([run])[0]
    assert (found.state, found.error) == (
        State.STOPPED, "its output was closed; the same command goes on",
    )  # fmt: skip
    assert not (found.folder / "error.txt").exists()
