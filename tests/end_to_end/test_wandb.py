"""Sweeps and W&B: an agent of a W&B sweep, and sweeps whose W&B cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.commands import MICRO, Command, environment, read_json, read_lines, result_of
from tests.track.conftest import KEY, clean, server
from tests.track.wandb_stub import Stub
from tiebreak.sweep.sweep_file import read_sweep_file

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.slow]  # `make prove` runs it
MIRRORED = [one for one in MICRO if one != "tracker=none"]
__all__ = ["clean", "server"]


@pytest.fixture
def study(tmp_path: Path) -> str:
    """Three short runs that share all but their policy."""
    fixed = dict(one.split("=", 1) for one in MIRRORED) | {"train.max_steps": 2}
    axes = {"method.beta": [0.2, 0.3, 0.4]}
    path = tmp_path / "three.yaml"
    path.write_text(yaml.safe_dump({"axes": axes, "fixed": fixed}))
    return str(path)


@pytest.fixture
def read_only(home: Path) -> Iterator[Path]:
    """`wandb` below the home, which nobody can write to; root needs a mount for that."""
    folder = home / "wandb"
    folder.mkdir(mode=0o500)
    if os.geteuid() != 0:
        yield folder
        return
    command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def sweep(study: str, tiebreak: Command, folder: Path) -> list[str]:
    """With two workers; all runs finish. What was said about W&B."""
    answer = tiebreak("sweep", study, "--workers", "2")
    assert answer.code == 0, answer.err
    assert "3 runs: 3 done now, 0 finished before, 0 failed" in answer.out
    states = [
        read_json(folder / "runs" / run.run_id / "status.json")
        for run in read_sweep_file(study).runs()
    ]
    assert [state["status"] for state in states] == ["finished"] * 3
    return [line for line in answer.err.splitlines() if "W&B" in line or "wandb" in line]


def test_a_wrong_key_is_said_once(study: str, home: Path, tiebreak: Command, server: Stub) -> None:
    server.answer = "unauthorised"
    (line,) = sweep(study, tiebreak, home)
    assert line.startswith("W&B: ") and "401" in line and KEY not in line
    assert line.endswith("from here on the runs of this sweep are kept offline, for `wandb sync`")
    kept = {path.parent.name.split("-")[-1] for path in home.glob("wandb/offline-run-*/*.wandb")}
    assert kept == {run.run_id for run in read_sweep_file(study).runs()}


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_said_once(
    study: str, home: Path, tiebreak: Command, read_only: Path
) -> None:
    (line,) = sweep(study, tiebreak, home)
    assert line.endswith("; from here on the runs of this sweep are not mirrored")
    assert list(read_only.iterdir()) == []


@pytest.mark.slow
def test_a_dead_server_is_waited_for_once(
    study: str, home: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (line,) = sweep(study, tiebreak, home)
    assert "connection refused" in line and "kept offline" in line
    logs = sorted(home.glob("wandb/*run-*/*.wandb"))
    assert len([log for log in logs if not log.parent.name.startswith("offline")]) <= 2, (
        "only each worker's first run tried"
    )


def test_an_agent_that_asks_for_a_finished_run_gets_its_numbers(
    home: Path, tiebreak: Command, server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = (home / "runs").iterdir()
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "sweeprun0")
    monkeypatch.setenv("WANDB_PROJECT", "tiebreak")
    answer = tiebreak("run", *MIRRORED)
    assert answer.code == 0 and "this run is done" in answer.out, answer.err
    assert list(server.runs) == ["sweeprun0"]
    assert server.runs["sweeprun0"]["displayName"].endswith(f" · {record.name}")
    rows = read_lines(record / "metrics.jsonl")
    assert [row["loss"] for row in server.history if "loss" in row] == [r["loss"] for r in rows]
    wanted = result_of(record)["metrics"]["gold/reward"]
    assert server.summary["gold/reward"] == wanted


@pytest.mark.slow
def test_wandb_agent_does_the_runs_of_the_study(
    home: Path, tiebreak: Command, server: Stub, tmp_path: Path
) -> None:
    fixed = dict(one.split("=", 1) for one in MIRRORED) | {"train.max_steps": 2}
    mine, exported = tmp_path / "mine.yaml", tmp_path / "w.yaml"
    mine.write_text(yaml.safe_dump({"axes": {"method": ["dpo", "ipo"]}, "fixed": fixed}))
    assert tiebreak("sweep", str(mine), "--export", "wandb", "--out", str(exported)).code == 0
    before = {path.name for path in (home / "runs").iterdir()}
    began = time.monotonic()
    for command in (["sweep", str(exported)], ["agent", "team/tiebreak/sweep1"]):
        done = subprocess.run(
            [sys.executable, "-m", "wandb", *command], cwd=tmp_path, capture_output=True, text=True,
            env=environment(home, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url,
                            WANDB_DATA_DIR=str(tmp_path / "d"), WANDB_CACHE_DIR=str(tmp_path / "c"),
                            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    print(f"agent: {time.monotonic() - began:.0f} s")
    ids = {run.run_id for run in read_sweep_file(str(mine)).runs()}
    assert {path.name for path in (home / "runs").iterdir()} - before == ids
    assert set(server.runs) == {"sweeprun0", "sweeprun1"}
    told = {json.loads(run["config"])["run_id"]["value"] for run in server.runs.values()}
    assert told == ids
    assert [run["sweep"] for run in server.runs.values()] == ["sweep1", "sweep1"]
    again = tiebreak("sweep", str(mine))
    assert again.code == 0 and "2 runs: 0 done now, 2 finished before, 0 failed" in again.out
