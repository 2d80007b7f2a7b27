"""Where each run of a study stands, read from its record."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from tiebreak.config.identity import run_id
from tiebreak.config.schema import Run
from tiebreak.home import runs_dir
from tiebreak.track.record import is_finished, is_live, read_manifest, read_status


class State(StrEnum):
    """done, running, pruned (ended early by a search) and failed as the record says; stopped: begun
    and no process works on it; waiting: not begun."""

    DONE = "done"
    RUNNING = "running"
    STOPPED = "stopped"
    PRUNED = "pruned"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True)
class Standing:
    """One run and where it stands. error: why it failed; step, steps: of its training."""

    run: Run
    run_id: str
    state: State
    error: str | None = None
    step: int | None = None
    steps: int | None = None

    @property
    def folder(self) -> Path:
        return runs_dir() / self.run_id


def standings(runs: Iterable[Run]) -> list[Standing]:
    """Of many runs: their folder is listed once, and only records that are there are opened."""
    folder = runs_dir()
    begun = frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()
    return [_standing(run, run_id(run), folder, begun) for run in runs]


def standing(run: Run) -> Standing:
    name, folder = run_id(run), runs_dir()
    return _standing(run, name, folder, {name} if (folder / name).is_dir() else ())


def _standing(run: Run, name: str, runs: Path, begun: Container[str]) -> Standing:
    folder = runs / name
    status = read_status(folder) if name in begun else None
    if status is None:
        return Standing(run, name, State.WAITING)
    state = _STATES.get(status["status"], State.STOPPED)
    if status["status"] == "finished":
        state = State.DONE if is_finished(folder) else State.STOPPED
    if status["status"] == "running":
        state = State.RUNNING if is_live(folder) else State.STOPPED
    return Standing(run, name, state, status["error"], status["step"], status["steps"])


def wall_seconds(folder: Path) -> float | None:
    """From the run's first start to its end; None when it was interrupted in between."""
    manifest = read_manifest(folder)
    times = manifest["times"]
    if manifest.get("earlier") or not times["finished"]:
        return None
    began, ended = (datetime.fromisoformat(times[k]) for k in ("started", "finished"))
    return (ended - began).total_seconds()


_STATES = {"failed": State.FAILED, "pruned": State.PRUNED}
