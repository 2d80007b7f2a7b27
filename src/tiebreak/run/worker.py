"""A child process that does what its parent sends and keeps torch imported: a line of JSON for each
task on stdin, and for its answer on stdout. A user's mistake is an answer. Anything else (memory, a
defect, a library's refusal) ends it with its trace; the parent notices and starts another.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from tiebreak.compose import Run
from tiebreak.errors import Busy, UserError
from tiebreak.home import runs_dir
from tiebreak.interrupt import Pruned
from tiebreak.run.task import read_task
from tiebreak.track.record import is_live
from tiebreak.warm import kept, share_of_memory

if TYPE_CHECKING:
    from tiebreak.run.execute import Outcome


def main() -> None:
    from tiebreak import interrupt

    what, answers = sys.argv[1], sys.stdout
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # submitit's, which its own process handles
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    sys.stdout = sys.stderr  # libraries that print must not disturb the answers
    if what == "run":
        kept.room = share_of_memory()
    with interrupt.installed():
        try:
            for line in sys.stdin:
                task = json.loads(line)
                answer = attempt(what, task)
                print(json.dumps(answer), file=answers, flush=True)
                settle(len(sys.modules))
                if what == "prepare" and "error" in answer:
                    sys.exit(2)
        except (interrupt.Stopped, BrokenPipeError):  # or nobody reads what we say
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({"stopped": True}), file=answers, flush=True)
            sys.exit(143)


@functools.lru_cache(maxsize=1)
def settle(num_modules: int) -> None:
    """What the libraries made of themselves stays: each stage ends with a search for garbage, and
    going through all of that takes it a quarter of a second. Once, and when more were imported."""
    gc.collect()
    gc.freeze()


def _leave_with(parent: int) -> None:
    """Nobody reads the answers of an orphan: save a checkpoint and go."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def attempt(what: str, task: dict[str, Any]) -> dict[str, Any]:
    """One line of the parent's. A user's mistake is in the answer; anything else is raised."""
    try:
        return do(what, read_task(task), task["trial"])
    except UserError as error:
        if what == "run":  # else the run that needs it will say so
            print(f"tiebreak: {error}", file=sys.stderr, flush=True)
        return {"error": str(error)}


def do(what: str, run: Run, trial: dict[str, Any] | None = None) -> dict[str, Any]:
    """One task, done here; its answer."""
    from tiebreak.engine.progress import quiet_libraries
    from tiebreak.run import distributed, shares

    try:
        if what == "prepare":
            quiet_libraries()
            distributed.build_parents(run)
            return {}
        if what == "share":
            assert trial is not None
            quiet_libraries()
            shares.compute(run, **trial)
            return {}
        outcome = take_turns(run, trial)
    except Pruned as pruned:
        return {"pruned": str(pruned)}
    return {"artefacts": [[*at, r] for at, r in outcome.artefacts.items()]}


def take_turns(run: Run, trial: dict[str, Any] | None) -> Outcome:
    """Do the run. Another sweep may be at this very run; then its result is ours."""
    from tiebreak.run.execute import execute
    from tiebreak.run.trials import judge

    look = judge(run, trial) if trial is not None and trial["pruner"] != "none" else None
    while True:
        said = False
        while is_live(runs_dir() / run.run_id):
            if not said:
                print(f"waiting for run {run.run_id}: another process does it", file=sys.stderr)
            said = True
            time.sleep(0.5)
        try:
            return execute(run, lambda text: print(text, file=sys.stderr, flush=True), look)
        except Busy:
            continue  # both began at once, and it was first


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # libraries' threads have nothing left to say
