"""One of the processes that train a run together, as `run/processes.py` has torchrun start them.

It reads its run from the environment. Rank 0 says on stdout how far they are. Each holds a lock
while it may write, and leaves with a checkpoint when stdin ends. The first that fails says why in a
file: the others fail then too, for it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tiebreak import interrupt
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.run import ranks
from tiebreak.run.execute import quiet_libraries
from tiebreak.run.processes import FAILED, LOCK, STOPPED, TASK, WORK
from tiebreak.run.worker import read_task
from tiebreak.stages.stage import Context, folders, use_threads
from tiebreak.store import Store


@dataclass(frozen=True)
class Lines:
    """The log of rank 0: a line of JSON each, for the process that keeps the record."""

    file: IO[str]

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None:
        self._say("begin", resumed_at, steps)

    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None:
        self._say("step", step, metrics, speed)

    def _say(self, what: str, *values: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody reads it: stdin has ended as well
            print(json.dumps({what: values}), file=self.file, flush=True)


def main() -> None:
    work = Path(os.environ[WORK])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not disturb the answers
    sys.excepthook = lambda kind, error, trace: _failed(work / "checkpoints" / FAILED, error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = (work / "checkpoints" / LOCK).open("a+")  # until this process is no more
    with interrupt.installed():
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _has_ended(0):  # the next start may have begun before we had the lock
                raise interrupt.Stopped
            threading.Thread(target=_leave_with_stdin, daemon=True).start()
            _train(work, answers)
        except interrupt.Stopped:
            os._exit(STOPPED)
    os._exit(0)  # libraries' threads have nothing left to say


def _train(work: Path, answers: IO[str]) -> None:
    run = read_task(json.loads(os.environ[TASK]))
    quiet_libraries()
    log = Lines(answers) if ranks.rank() == 0 else None
    align = run.plan.align
    use_threads(run.train.execution.num_threads)
    align.build(Context(run, log), work, folders(align, Store(artefacts_dir())))


def _has_ended(descriptor: int) -> bool:
    """Whether there is nothing to wait for: nobody writes to it."""
    return bool(select.select([descriptor], [], [], 0)[0])


def _leave_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _failed(path: Path, error: BaseException) -> None:
    """The last words, for the first to say them; they are whole or not there."""
    mistake = isinstance(error, UserError)
    words = str(error) if mistake else f"{type(error).__name__}: {error}".splitlines()[0]
    trace = "".join(traceback.format_exception(error))
    told = {"rank": ranks.rank(), "mistake": mistake, "error": words, "trace": trace}
    part = path.with_name(f"{path.name}.{ranks.rank()}")
    part.write_text(json.dumps(told))
    with contextlib.suppress(FileExistsError):
        os.link(part, path)
    os._exit(1)


if __name__ == "__main__":
    main()
