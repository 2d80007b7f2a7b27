"""Sweeps through a real SLURM. `make prove` runs them where tests/slurm/up.sh has started one."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.end_to_end.commands import slurm_is_up
from tiebreak.compose import Run, compose
from tiebreak.errors import UserError
from tiebreak.sweep.engines import engine_for, slurm
from tiebreak.sweep.tasks import Engine, Grid, State, SweepResult, standings, sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not slurm_is_up(), reason="no SLURM is up; start one: tests/slurm/up.sh"),
]

# Seed 3 kills its process; seeds from 9 on wait until they are told to stop.
CHILD = """
import json, os, signal, sys, time
def leave(*_):
    print(json.dumps({"stopped": True}), flush=True)
    os._exit(143)
signal.signal(signal.SIGTERM, leave)
for line in sys.stdin:
    seed = json.loads(line)["run"]["seed"]
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed >= 9:
        open(os.environ["TIEBREAK_HOME"] + f"/begun-{seed}", "w").close()
        time.sleep(90)
    print(json.dumps({"artefacts": [["align", str(seed), False]]}), flush=True)
"""
REPLACE = """
import sys
from tiebreak.sweep.engines import local as pool
pool.command = lambda what: [sys.executable, "-I", "-c", {child!r}]
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(REPLACE.format(child=CHILD))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    monkeypatch.setattr(slurm, "unmade", lambda run: None)
    return tmp_path


def runs(*seeds: int) -> list[Run]:
    return [compose(["tracker=none", f"seed={seed}"]) for seed in seeds]


def do(engine: Engine, *seeds: int) -> SweepResult:
    return sweep("mine", Grid(runs(*seeds)), engine, print)


def engine_in(home: Path, workers: int = 2, *settings: str) -> Engine:
    return engine_for("slurm", workers, [], home / "jobs", settings)


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < limit, path
        time.sleep(0.2)


def jobs(*states: str) -> list[str]:
    """Ids of the queued jobs in these states."""
    asked = ["squeue", "--noheader", "--array", "--format=%i", f"--states={','.join(states)}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return [one for one in done.stdout.split() if one]


@pytest.mark.parametrize("seeds", [(1, 3, 4), (1,)])
def test_every_other_answer_arrives(home: Path, seeds: tuple[int, ...]) -> None:
    """One job alone is no array."""
    result = do(engine_in(home), *seeds)
    assert result.done == len(set(seeds) - {3})
    assert [run.seed for run, _ in result.failed] == [s for s in seeds if s == 3]


def test_cancelled_jobs_are_named_and_the_rest_is_done(home: Path) -> None:
    """One is cancelled while it runs, one before it started: SLURM keeps no row of that."""

    def cancel() -> None:
        wait_for(home / "begun-9")
        time.sleep(2)
        subprocess.run(["scancel", *jobs("PENDING")[-1:]], check=True)
        subprocess.run(["scancel", *jobs("RUNNING")], check=True)

    other = threading.Thread(target=cancel)
    other.start()
    result = do(engine_in(home, 1), 9, 1, 2)
    other.join()
    assert result.done == 1
    why = {run.seed: words.partition(";")[0] for run, words in result.failed}
    assert why[9] == "its SLURM job ended as CANCELLED"
    assert why[2].startswith("its SLURM job ") and "CANCELLED" in why[2].upper()
    assert standings([runs(9)[0]])[0].state is State.FAILED


def test_told_to_stop_queued_jobs_are_cancelled(home: Path) -> None:
    engine = engine_in(home, 1)

    def stop() -> None:
        wait_for(home / "begun-9")
        engine.stop()

    other = threading.Thread(target=stop)
    other.start()
    result = do(engine, 9, 1, 2)
    other.join()
    assert (result.stopped, result.left, result.failed) == (1, 2, [])
    assert jobs("PENDING", "RUNNING") == []


def test_before_its_time_limit_a_run_is_told_to_stop(home: Path) -> None:
    """It has half a minute to save a checkpoint, and the reason names the setting."""
    result = do(engine_in(home, 1, "timeout_min=1"), 9)
    ((_, why),) = result.failed
    assert why.startswith(
        "SLURM told its job to stop, as before a time limit; a checkpoint is saved"
    )
    assert "--launcher timeout_min=MINUTES" in why


def test_a_queue_that_is_not_there(home: Path) -> None:
    with pytest.raises(UserError, match="--engine slurm did no run: .*invalid partition.*nowhere"):
        do(engine_in(home, 1, "partition=nowhere"), 1)
    assert standings([runs(1)[0]])[0].state is State.WAITING


def test_a_setting_that_submitit_does_not_have(home: Path) -> None:
    with pytest.raises(UserError, match="nonsense.*partition"):
        engine_in(home, 1, "nonsense=1")
