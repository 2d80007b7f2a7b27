"""Sweeps through Hydra's launchers: every answer arrives, whatever happens to one job."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tiebreak.compose import compose
from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.sweep import hydra_engine
from tiebreak.sweep.engines import engine_for
from tiebreak.sweep.hydra_engine import HydraEngine, quoted, waves
from tiebreak.sweep.local_workers import Pool
from tiebreak.sweep.standing import State, standing
from tiebreak.sweep.sweep import sweep
from tiebreak.sweep.tasks import Grid, Report, Task

# Seed 2 is a run that fails, seed 3 kills its process, seed 9 waits until it is told to stop.
CHILD = """
import json, os, signal, sys, time
for line in sys.stdin:
    seed = json.loads(line)["run"]["seed"]
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    def leave(*_):
        print(json.dumps({"stopped": True}), flush=True)
        os._exit(143)
    signal.signal(signal.SIGTERM, leave)
    if seed == 9:
        open(os.environ["TIEBREAK_HOME"] + "/begun", "w").close()
        time.sleep(60)
    error = {"error": "the loss became nan"} if seed == 2 else {}
    print(json.dumps({"artefacts": [["align", str(os.getpid()), False]], **error}), flush=True)
"""
# Python imports a module of this name at every start: it reaches the processes of any launcher.
REPLACE = """
import sys
from tiebreak.sweep import local_workers as pool
pool.command = lambda what: [sys.executable, "-I", "-c", {child!r}]
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    home = tmp_path / "it's a=home, {1}"
    home.mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(REPLACE.format(child=CHILD))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("TIEBREAK_HOME", str(home))
    monkeypatch.setattr(hydra_engine, "unmade", lambda run: None)
    return home


def runs(*seeds: int) -> list[Run]:
    return [compose(["tracker=none", f"seed={seed}"]) for seed in seeds]


def do(engine: HydraEngine, *seeds: int) -> tuple[Report, list[str]]:
    said: list[str] = []
    return sweep("mine", Grid(runs(*seeds)), engine, said.append), said


LAUNCHERS = [
    "basic",
    "joblib",
    pytest.param("submitit_local", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_other_answer_arrives(launcher: str, home: Path) -> None:
    engine = HydraEngine(launcher, 2, home / "jobs")
    report, said = do(engine, 1, 2, 3, 4, 5)
    assert report.done == 3 and len(said) == 5
    killed = "its process was killed by signal 9 (out of memory?)"
    assert {run.seed: why for run, why in report.failed} == {2: "the loss became nan", 3: killed}
    states = [standing(run).state for run in runs(2, 3, 4)]
    assert states == [State.FAILED, State.FAILED, State.WAITING], "the pretended one has no record"
    if launcher == "basic":  # a child for 1 to 3, another for 4 and 5
        assert len({key for _, key in report.artefacts}) == 2, "a child serves many runs"
    assert len((home / "jobs" / "0" / "plan.jsonl").read_text().splitlines()) == 5
    do(engine, 1)
    assert sorted(one.name for one in (home / "jobs").iterdir()) == ["0", "1"]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_told_to_stop_jobs_save_and_the_rest_is_not_begun(launcher: str, home: Path) -> None:
    engine = HydraEngine(launcher, 1, home / "jobs")

    def stop() -> None:
        while not (home / "begun").exists():
            time.sleep(0.1)
        engine.stop()

    other = threading.Thread(target=stop)
    other.start()
    began = time.monotonic()
    report, _ = do(engine, 1, 9, 4, 5)
    other.join()
    assert time.monotonic() - began < 40
    assert (report.done, report.stopped, report.left, report.failed) == (1, 1, 2, [])


def test_a_job_knows_whether_its_sweep_is_there() -> None:
    from tiebreak.sweep.hydra_jobs import _is_there

    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    os.waitpid(child, 0)
    assert _is_there(os.getpid()) and _is_there(0) and not _is_there(child)


def test_a_job_without_an_answer_has_failed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole multirun is killed: what is known is where its log is."""
    script = "import os; os.kill(os.getpid(), 9)"
    monkeypatch.setattr(
        hydra_engine.Multirun, "command", lambda *a: [sys.executable, "-I", "-c", script]
    )
    report, _ = do(HydraEngine("basic", 1, home / "jobs"), 1)
    ((run, why),) = report.failed
    assert why == f"its job gave no answer; see {home / 'jobs' / '0' / 'launcher.log'}"
    assert standing(run).state is State.FAILED


def test_a_setting_the_launcher_does_not_have(home: Path) -> None:
    engine = HydraEngine("joblib", 1, home / "jobs", ["nonsense=1"])
    with pytest.raises(UserError, match="--engine joblib did no run: .*nonsense.*launcher.log"):
        do(engine, 1)
    assert standing(runs(1)[0]).state is State.WAITING


def test_one_run_of_each_start_model_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: dict[int, str | None] = {1: "a", 2: "a", 3: None, 4: "b"}
    monkeypatch.setattr(hydra_engine, "unmade", lambda run: starts[run.seed])
    found = waves([Task(run) for run in runs(1, 2, 3, 4)])
    assert [[task.run.seed for task in wave] for wave in found] == [[1, 4], [2, 3]]
    monkeypatch.setattr(hydra_engine, "unmade", lambda run: None)
    assert [len(wave) for wave in waves([Task(run) for run in runs(1, 2)])] == [2]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as found:
        call()
    return str(found.value)


def test_refusals(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(name: str, *settings: str) -> Callable[[], object]:
        return lambda: engine_for(name, 1, [], home, settings)

    assert "--engine jobli (nearest: 'joblib')" in refused(ask("jobli"))
    assert "local has no launcher" in refused(ask("local", "partition=gpu"))
    assert "give KEY=VALUE" in refused(ask("joblib", "partition"))
    assert "pip install hydra-ray-launcher" in refused(ask("ray"))
    assert isinstance(ask("local")(), Pool) and isinstance(ask("joblib", "a=1")(), HydraEngine)

    monkeypatch.setenv("PATH", str(home))
    assert "there is no sbatch here" in refused(ask("submitit_slurm"))
    (home / "sacct").write_text("#!/bin/sh\necho no database >&2\nexit 1\n")
    for name in ("sbatch", "squeue", "scancel"):
        (home / name).touch()
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        (home / name).chmod(0o755)
    assert "sacct fails (no database); without" in refused(ask("submitit_slurm"))

    def gone(name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", gone)
    assert refused(ask("joblib")).endswith("install it: pip install 'tiebreak[joblib]'")
    assert refused(ask("submitit_local")).endswith("install it: pip install 'tiebreak[slurm]'")
    assert isinstance(ask("basic")(), HydraEngine)


def test_any_path_can_be_said_to_hydra() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for text in ("/plain", "/it's a=b,{c} d", "/back\\slash", "/back\\'both"):
        override = OverridesParser.create().parse_override(f"a={quoted(text)}")
        assert str(override.value()) == text
