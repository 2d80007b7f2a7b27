"""Sweeps through a real SLURM. `make prove` runs them where tests/slurm/up.sh has started one."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.end_to_end.commands import slurm_is_up
from tiebreak.compose import compose
from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.sweep import hydra_engine, slurm
from tiebreak.sweep.hydra_engine import HydraEngine
from tiebreak.sweep.standing import State, standing
from tiebreak.sweep.sweep import sweep
from tiebreak.sweep.tasks import Grid, Report

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
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
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
from tiebreak.sweep import local_workers as pool
pool.command = lambda what: [sys.executable, "-I", "-c", {child!r}]
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(REPLACE.format(child=CHILD))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    monkeypatch.setattr(hydra_engine, "unmade", lambda run: None)
    slurm.check()
    return tmp_path


def runs(*seeds: int) -> list[Run]:
    return [compose(["tracker=none", f"seed={seed}"]) for seed in seeds]


def do(engine: HydraEngine, *seeds: int) -> Report:
    return sweep("mine", Grid(runs(*seeds)), engine, print)


def engine_in(home: Path, workers: int = 2, *settings: str) -> HydraEngine:
    return HydraEngine("submitit_slurm", workers, home / "jobs", settings)


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
    report = do(engine_in(home), *seeds)
    assert report.done == len(set(seeds) - {3})
    assert [run.seed for run, _ in report.failed] == [s for s in seeds if s == 3]


def test_cancelled_jobs_are_named_and_the_rest_is_done(home: Path) -> None:
    """One is cancelled while it runs, one before it started: SLURM keeps no row of that."""

    def cancel() -> None:
        wait_for(home / "begun-9")
        time.sleep(2)
        subprocess.run(["scancel", *jobs("PENDING")[-1:]], check=True)
        subprocess.run(["scancel", *jobs("RUNNING")], check=True)

    other = threading.Thread(target=cancel)
    other.start()
    report = do(engine_in(home, 1), 9, 1, 2)
    other.join()
    assert report.done == 1
    why = {run.seed: words.partition(";")[0] for run, words in report.failed}
    assert why[9] == "its SLURM job ended as CANCELLED"
    assert why[2].startswith("its SLURM job ") and "CANCELLED" in why[2].upper()
    assert standing(runs(9)[0]).state is State.FAILED


def test_told_to_stop_queued_jobs_are_cancelled(home: Path) -> None:
    engine = engine_in(home, 1)

    def stop() -> None:
        wait_for(home / "begun-9")
        engine.stop()

    other = threading.Thread(target=stop)
    other.start()
    report = do(engine, 9, 1, 2)
    other.join()
    assert (report.stopped, report.left, report.failed) == (1, 2, [])
    assert jobs("PENDING", "RUNNING") == []


def test_a_queue_that_is_not_there(home: Path) -> None:
    with pytest.raises(UserError, match="--engine submitit_slurm did no run: .*launcher.log"):
        do(engine_in(home, 1, "partition=nowhere"), 1)
    assert standing(runs(1)[0]).state is State.WAITING
