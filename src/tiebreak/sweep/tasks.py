"""A sweep: the tasks of its runs, done by an engine one by one, and where each run stands. Finished
runs are skipped, partial ones resumed, failed ones listed. Nothing is kept in memory that records
and store do not know: a second `tiebreak sweep` picks up wherever the first was killed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.home import home, runs_dir
from tiebreak.run.execute import failed_elsewhere
from tiebreak.store import FULL, UNWRITABLE, disk_errors, try_lock
from tiebreak.track.record import is_done, is_live, read_manifest, read_status
from tiebreak.track.wandb_environment import shared_by

WorkerReply = Mapping[str, Any]  # plain JSON: "artefacts", or one of "error", "stopped", "pruned"


@dataclass(frozen=True)
class Task:
    """A run to do. trial: the search that asked for it, as plain JSON; None for a plain run."""

    run: Run
    trial: dict[str, Any] | None = None


Told = Callable[[Task, WorkerReply], None]


@dataclass
class SweepResult:
    """What a sweep did. interrupted: it was told to stop; artefacts: (stage, key) -> found in the
    store, not built."""

    total: int = 0
    skipped: int = 0
    done: int = 0
    pruned: int = 0
    stopped: int = 0
    interrupted: bool = False
    failed: list[tuple[Run, str]] = field(default_factory=list)
    artefacts: dict[tuple[str, str], bool] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """How many need no more work; those that failed do."""
        return self.skipped + self.done + self.pruned

    @property
    def left(self) -> int:
        """How many were not begun."""
        return self.total - self.finished - self.stopped - len(self.failed)

    def stages(self) -> dict[str, tuple[int, int]]:
        """Stage -> (artefacts built, artefacts found in the store)."""
        counts = Counter((stage, reused) for (stage, _), reused in self.artefacts.items())
        return {stage: (counts[stage, False], counts[stage, True])
                for stage in sorted({stage for stage, _ in counts})}  # fmt: skip

    def take(self, task: Task, reply: WorkerReply) -> None:
        """Count the reply to a task."""
        for stage, key, reused in reply.get("artefacts", []):
            at = (stage, key)
            self.artefacts[at] = self.artefacts.get(at, True) and reused
        if "error" in reply:
            self.failed.append((task.run, reply["error"]))
        elif "pruned" in reply:
            self.pruned += 1
        elif "stopped" in reply:
            self.stopped += 1
        else:
            self.done += 1


class Tasks(Protocol):
    """Tasks that come one by one; some only once others are answered. len: how many are left, as
    far as is known at the start. next: a task, or None where there is none now (more may come when
    a task in hand is answered)."""

    result: SweepResult

    def __len__(self) -> int: ...
    def next(self) -> Task | None: ...
    def answer(self, task: Task, reply: WorkerReply) -> None: ...


class State(StrEnum):
    """done, running, pruned (ended early by a search) and failed as the record says; stopped: begun
    and no process works on it; waiting: not begun."""

    DONE = "done"
    RUNNING = "running"
    STOPPED = "stopped"
    PRUNED = "pruned"
    FAILED = "failed"
    UNMEASURED = "to be evaluated"
    WAITING = "waiting"


@dataclass(frozen=True)
class Standing:
    """One run and where it stands. error: why it failed; step, steps: of its training."""

    run: Run
    state: State
    error: str | None = None
    step: int | None = None
    steps: int | None = None


class Grid:
    """The runs of a sweep that are not done. Failed ones are left, unless `retry`: then only they
    are done, and those that a retry began and did not end."""

    def __init__(self, runs: Iterable[Run], retry: bool = False) -> None:
        self.result = SweepResult()
        self._waiting: deque[Run] = deque()
        for standing in standings(runs):
            self.result.total += 1
            if standing.state is State.DONE:
                self.result.skipped += 1
            elif standing.state is State.FAILED and not retry:
                why = f"{standing.error} (before; see tiebreak retry)"
                self.result.failed.append((standing.run, why))
            elif standing.state in (State.FAILED, State.STOPPED) or not retry:
                self._waiting.append(standing.run)

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Task | None:
        return Task(self._waiting.popleft()) if self._waiting else None

    def answer(self, task: Task, reply: WorkerReply) -> None:
        self.result.take(task, reply)


def standings(runs: Iterable[Run]) -> list[Standing]:
    """Where each run stands. The runs' folder is listed once; only records there are opened."""
    folder = runs_dir()
    begun = frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()
    return [_standing(run, folder / run.run_id, begun) for run in runs]


def _standing(run: Run, folder: Path, begun: frozenset[str]) -> Standing:
    status = read_status(folder) if folder.name in begun else None
    if status is None:
        return Standing(run, State.WAITING)
    if is_done(folder, run.evaluation_id, run.evaluators):
        state = State.DONE
    elif status["status"] == "running" and is_live(folder):
        state = State.RUNNING
    else:
        state = _STATES.get(status["status"], State.STOPPED)
    return Standing(run, state, status["error"], status["step"], status["steps"])


_STATES = {"failed": State.FAILED, "pruned": State.PRUNED, "finished": State.UNMEASURED}


def wall_seconds(folder: Path) -> float | None:
    """Seconds from a run's first start to its end; None when it was interrupted in between."""
    manifest = read_manifest(folder)
    times = manifest["times"]
    if manifest.get("earlier") or not times["finished"]:
        return None
    began, ended = (datetime.fromisoformat(times[k]) for k in ("started", "finished"))
    return (ended - began).total_seconds()


def describe(run: Run) -> str:
    names = run.names
    return f"{names['scenario']} · {names['method']} · seed {run.seed} ({run.run_id})"


class Engine(Protocol):
    """Where tasks are done: worker processes of this machine, the jobs of a cluster."""

    def run(self, tasks: Tasks, told: Told) -> None: ...
    def stop(self) -> None: ...


def sweep(
    name: str, tasks: Tasks, engine: Engine, say: Callable[[str], None], command: str = ""
) -> SweepResult:
    """Do every task. A failing run is reported and does not stop the rest. command: that goes on
    with a sweep that was stopped."""
    done, left = itertools.count(1), len(tasks)

    def told(task: Task, reply: WorkerReply) -> None:
        if "error" in reply:
            failed_elsewhere(task.run, reply["error"])
        what = "done" if "stopped" not in reply else "stopped"
        what = f"pruned: {reply['pruned']}" if "pruned" in reply else what
        say(f"[{next(done)}/{left}] {describe(task.run)}: {reply.get('error', what)}")

    with _alone(name, command), shared_by(folder(name)), _stops(engine, tasks.result, say):
        engine.run(tasks, told)
    return tasks.result


def folder(name: str) -> Path:
    """What belongs to a sweep and to none of its runs: its lock, the journal of a search."""
    return home() / ".tiebreak" / "sweeps" / name


@contextmanager
def _alone(name: str, command: str) -> Generator[None]:
    """One sweep of a name at a time; its lock says who does it, and with which command."""
    place = folder(name)
    with disk_errors(place, FULL + UNWRITABLE):
        place.mkdir(parents=True, exist_ok=True)
        lock = open(place / "lock", "a+")
    with lock:
        if not try_lock(lock.fileno()):
            raise UserError(
                f"another sweep of {name} is running; see tiebreak status {name}, or end it with "
                f"tiebreak stop {name}"
            )
        lock.truncate(0)
        who = {"process": os.getpid(), "host": socket.gethostname(),
               "command": command or f"tiebreak sweep {name}"}  # fmt: skip
        lock.write(json.dumps(who))
        lock.flush()
        yield


def stop(name: str) -> str:
    """Tell the running sweep of that name to stop; a sentence that says what was done."""
    path = folder(name) / "lock"
    if not path.is_file():
        start = f"tiebreak sweep {name}"
        raise UserError(f"no sweep of {name} was started here; start one with: {start}")
    with path.open("r+") as lock:
        if try_lock(lock.fileno()):
            return f"no sweep of {name} is running"
        who = json.loads(lock.read())
    if who["host"] != socket.gethostname():
        raise UserError(f"the sweep of {name} runs on {who['host']}; stop it there")
    os.kill(who["process"], signal.SIGTERM)
    return (
        f"told process {who['process']} to stop; its runs save a checkpoint first; go on later "
        f"with: {who['command']}"
    )


@contextmanager
def _stops(engine: Engine, result: SweepResult, say: Callable[[str], None]) -> Generator[None]:
    """SIGTERM and Ctrl-C end the sweep in order: runs in hand save a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave() -> None:
        say("stopping: the runs in hand save a checkpoint; the same command goes on")
        engine.stop()

    def ask(*_: object) -> None:
        result.interrupted = True
        # A handler must not wait for a lock that the interrupted code may hold.
        threading.Thread(target=leave).start()

    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
