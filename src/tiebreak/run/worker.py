"""A child process that does what its parent sends, one JSON line each, keeping torch imported.

It answers one JSON line per task on stdout. A user's mistake is an answer. Anything else (memory,
a defect, a library's refusal) ends it with its trace; the parent notices and starts another.
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
from tiebreak.home import artefacts_dir, runs_dir
from tiebreak.interrupt import Pruned
from tiebreak.run.task import read_task
from tiebreak.store import Store
from tiebreak.track.record import is_live
from tiebreak.warm import kept, share_of_memory

if TYPE_CHECKING:
    from tiebreak.run.execute import Outcome
    from tiebreak.stages.stage import OnStep, Paths


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
    """One line of the parent's. What it named may have gone or changed since."""
    try:
        run = read_task(task)
    except UserError as error:
        print(f"tiebreak: {error}", file=sys.stderr, flush=True)
        return {"error": str(error)}
    return do(what, run, task["trial"])


def do(what: str, run: Run, trial: dict[str, Any] | None = None) -> dict[str, Any]:
    """One task, here. A user's mistake is in the answer; anything else is raised."""
    from tiebreak.engine.progress import quiet_libraries
    from tiebreak.run import distributed

    try:
        if what == "prepare":
            quiet_libraries()
            distributed.build_parents(run)
            return {}
        outcome = take_turns(run, None if trial is None else looking(run, trial))
    except Pruned as pruned:
        return {"pruned": str(pruned)}
    except UserError as error:
        if what == "run":  # else the run that needs it will say so
            print(f"tiebreak: {error}", file=sys.stderr, flush=True)
        return {"error": str(error)}
    return {"artefacts": [[*at, r] for at, r in outcome.artefacts.items()]}


def looking(run: Run, trial: dict[str, Any]) -> OnStep:
    """Judges a trial on validation rows where its search wants to know how far it is."""
    from tiebreak.run.trials import Watch, validate

    watch, rows = Watch(trial), run.plan.held_out
    tokens = Store(artefacts_dir()).path(rows.name, rows.key)

    def look(step: int, steps: int, paths: Paths, model: Any) -> None:
        rung = watch.rung(step, steps)
        if rung is not None:
            value = validate(run, tokens, model)[watch.metric]
            watch.report(rung, value, step)

    return look


def take_turns(run: Run, look: OnStep | None) -> Outcome:
    """Another sweep may be at this very run; then its result is ours."""
    from tiebreak.run.execute import execute

    while True:
        wait_for_others(run)
        try:
            return execute(run, lambda text: print(text, file=sys.stderr, flush=True), look)
        except Busy:
            continue  # both began at once, and it was first


def wait_for_others(run: Run) -> None:
    folder, said = runs_dir() / run.run_id, False
    while is_live(folder):
        if not said:
            print(f"waiting for run {folder.name}: another process does it", file=sys.stderr)
        said = True
        time.sleep(0.5)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # libraries' threads have nothing left to say
