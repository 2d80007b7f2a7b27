"""A sweep that is stopped says last which command goes on with it."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path

import pytest

from tiebreak.cli import main
from tiebreak.compose import compose
from tiebreak.home import runs_dir
from tiebreak.run.execute import failed_elsewhere
from tiebreak.sweep import engines
from tiebreak.sweep.sweep_file import read_sweep_file
from tiebreak.sweep.tasks import Grid, Tasks, Told, standings


class OneRun:
    """An engine that does one run, and is then told to stop by `tiebreak stop NAME`."""

    def __init__(self, name: str) -> None:
        self.name, self.stopped = name, threading.Event()

    def run(self, tasks: Tasks, told: Told) -> None:
        task = tasks.next()
        assert task is not None
        tasks.answer(task, {"artefacts": []})
        told(task, {"artefacts": []})
        main(["stop", self.name])
        assert self.stopped.wait(30)

    def stop(self) -> None:
        self.stopped.set()


def stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, *words: str
) -> list[str]:
    monkeypatch.setattr(engines, "engine_for", lambda *order: OneRun(name))
    with pytest.raises(SystemExit) as code:
        main(list(words))
    assert code.value.code == 143
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("command", ["sweep", "retry"])
def test_the_command_with_its_options(
    command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "my sweep.yaml"
    path.write_text("axes: {seed: [1, 2, 3]}\nfixed: {tracker: none}\n")
    if command == "retry":
        for run in read_sweep_file(str(path), ["train.max_steps=4"]).runs():
            failed_elsewhere(run, "lost")
    words = [command, str(path), "--engine", "slurm", "--launcher", "partition=gpu",
             "train.max_steps=4"]  # fmt: skip
    lines = stopped(monkeypatch, capsys, str(path), *words)
    whole = f"tiebreak {command} {shlex.quote(str(path))} {shlex.join(words[2:])}"
    assert lines[-1] == f"stopped: 1 of 3 runs are done; go on with: {whole}"
    (told,) = [line for line in lines if line.startswith("told process ")]
    assert told.endswith(f" to stop; its runs save a checkpoint first; go on later with: {whole}")


def test_a_retry_goes_on_with_what_it_had_begun(home: Path) -> None:
    """Failed runs, and the one that a retry had in hand when it was stopped."""
    failed, stopped, waiting = (compose(["tracker=none", f"seed={seed}"]) for seed in (1, 2, 3))
    for run in (failed, stopped):
        failed_elsewhere(run, "lost")
    path = runs_dir() / standings([stopped])[0].run.run_id / "status.json"
    path.write_text(path.read_text().replace('"failed"', '"stopped"'))
    tasks = Grid([failed, stopped, waiting], retry=True)
    assert [task.run.seed for task in iter(tasks.next, None)] == [1, 2]


def test_a_study(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = stopped(monkeypatch, capsys, "arizona-mini", "study", "demo")
    assert lines[-1] == "stopped: 1 of 36 runs are done; go on with: tiebreak study demo"
