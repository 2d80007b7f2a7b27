"""A run as another process is given it: one line of JSON, the program that reads it, its end."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from tiebreak.compose import Run, to_run
from tiebreak.errors import UserError


def command(what: str) -> list[str]:
    """The command line of a worker; `what` is "prepare", "run" or "share"."""
    return [sys.executable, "-m", "tiebreak.run.worker", what]


def payload(run: Run, trial: dict[str, Any] | None = None) -> str:
    """A task as one line."""
    return json.dumps({"run": run.resolved, "run_id": run.run_id, "trial": trial}) + "\n"


def read_task(task: dict[str, Any]) -> Run:
    """The run of a payload. UserError: it is not the one that was meant any more."""
    run = to_run(task["run"])
    if run.run_id != task["run_id"]:
        raise UserError(
            f"the data or the model of run {task['run_id']} changed since it was composed; "
            "give the same command again"
        )
    return run


def exit_words(code: int, who: str = "its process") -> str:
    """Why a process that gave no answer ended."""
    if code < 0:
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"{who} was killed by signal {-code}{memory}"
    return f"{who} ended with code {code}; its trace is in the record's error.txt"
