"""A sweep: the runs of a sweep file done by an engine, each stage made once.

Finished runs are skipped, partial ones resumed, failed ones listed. Nothing is kept in memory that
records and store do not know: a second `tiebreak sweep` picks up wherever the first was killed.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from tiebreak.errors import UserError
from tiebreak.home import home
from tiebreak.store import FULL, UNWRITABLE, disk_errors
from tiebreak.sweep.tasks import SweepResult, Task, Tasks, Told, WorkerReply, describe
from tiebreak.track import outage


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
        what = "done" if "stopped" not in reply else "stopped"
        what = f"pruned: {reply['pruned']}" if "pruned" in reply else what
        say(f"[{next(done)}/{left}] {describe(task.run)}: {reply.get('error', what)}")

    with _alone(name, command), outage.shared_by(folder(name)), _stops(engine, tasks.result, say):
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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another sweep of {name} is running; see tiebreak status {name}, or end it with "
                f"tiebreak stop {name}"
            ) from error
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
        raise UserError(
            f"no sweep of {name} was started here; start one with: tiebreak sweep {name}"
        )
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = json.loads(lock.read())
            if who["host"] != socket.gethostname():
                raise UserError(
                    f"the sweep of {name} runs on {who['host']}; stop it there"
                ) from None
            os.kill(who["process"], signal.SIGTERM)
            return (
                f"told process {who['process']} to stop; its runs save a checkpoint first; go on "
                f"later with: {who['command']}"
            )
    return f"no sweep of {name} is running"


@contextmanager
def _stops(engine: Engine, result: SweepResult, say: Callable[[str], None]) -> Generator[None]:
    """SIGTERM and Ctrl-C end the sweep in order: runs in hand save a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave() -> None:
        say("stopping: the runs in hand save a checkpoint; the same command goes on")
        engine.stop()

    def ask(number: int, frame: FrameType | None) -> None:
        result.interrupted = True
        # A handler must not wait for a lock that the interrupted code may hold.
        threading.Thread(target=leave).start()

    before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
