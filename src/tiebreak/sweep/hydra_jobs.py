"""The program of a Hydra multirun: job N does the task of line N of a plan.

A launcher may run jobs in one process (basic), in a few (joblib) or in one each (submitit). In
each of them a warm worker does the work in a child process, so that what kills a run kills no job.
A job answers in a file. It never raises: the basic launcher would leave out all jobs after it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from tiebreak.errors import UserError
from tiebreak.run.worker import read_task
from tiebreak.sweep.local_workers import Worker
from tiebreak.sweep.tasks import Task

PLAN, STOP, ANSWERS = "plan.jsonl", "stop", "answers"
WATCH_SECONDS = 0.5


@hydra.main(version_base="1.3", config_path=None)
def job(cfg: DictConfig) -> None:
    """folder: of the plan; job: the number of its line; owner: the sweep's process, or 0."""
    folder = Path(cfg.folder)
    if (folder / STOP).exists():
        return
    try:
        answer = _answer(folder, cfg.job, cfg.owner)
        path = folder / ANSWERS / f"{cfg.job}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(answer))
        part.rename(path)  # whoever reads it reads all of it
    except (OSError, UserError) as error:  # the disk is full, say; the sweep sees no answer
        print(f"tiebreak: job {cfg.job}: {error}", file=sys.stderr, flush=True)


def _answer(folder: Path, number: int, owner: int) -> dict[str, Any]:
    line = json.loads((folder / PLAN).read_text().splitlines()[number])
    try:
        run = read_task(line)
    except UserError as error:
        return {"error": str(error)}
    return _worker(folder, owner).do(Task(run, line["trial"]))


@cache
def _worker(folder: Path, owner: int) -> Worker:
    """One per process. It is told to stop when the sweep says so, or is no more."""
    worker = Worker()
    threading.Thread(target=_watch, args=(folder, owner, worker), daemon=True).start()
    return worker


def _watch(folder: Path, owner: int, worker: Worker) -> None:
    while not (folder / STOP).exists() and _is_there(owner):
        time.sleep(WATCH_SECONDS)
    worker.stop()


def _is_there(process: int) -> bool:
    if not process:  # on another host, maybe
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    # By its name, not as __main__: launchers send the function to other processes.
    import_module("tiebreak.sweep.hydra_jobs").job()
