"""What an engine is given to do, one task at a time, and what comes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tiebreak.config.identity import run_id
from tiebreak.config.schema import Run
from tiebreak.sweep.standing import Standing, State, standings

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """A run to do. trial: the search that asked for it, as plain JSON; None for a plain run."""

    run: Run
    trial: dict[str, Any] | None = None

    def payload(self) -> dict[str, Any]:
        return {"run": self.run.resolved, "trial": self.trial}


@dataclass
class Report:
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
    def left(self) -> int:
        """How many were not begun."""
        ended = self.skipped + self.done + self.pruned + self.stopped + len(self.failed)
        return self.total - ended

    def stages(self) -> dict[str, tuple[int, int]]:
        """Stage -> (artefacts built, artefacts found in the store)."""
        counts: dict[str, tuple[int, int]] = {}
        for (stage, _), reused in sorted(self.artefacts.items()):
            built, found = counts.get(stage, (0, 0))
            counts[stage] = (built + (not reused), found + reused)
        return counts

    def take(self, task: Task, answer: Answer) -> None:
        for stage, key, reused in answer.get("artefacts", []):
            at = (stage, key)
            self.artefacts[at] = self.artefacts.get(at, True) and reused
        if "error" in answer:
            self.failed.append((task.run, answer["error"]))
        elif "pruned" in answer:
            self.pruned += 1
        elif "stopped" in answer:
            self.stopped += 1
        else:
            self.done += 1


class Tasks(Protocol):
    """Tasks that come one by one; some only once others are answered."""

    report: Report

    def __len__(self) -> int:
        """How many are left, as far as is known at the start."""
        ...

    def next(self) -> Task | None:
        """A task, or None: nothing to do now (more may come when a task in hand is answered)."""
        ...

    def answer(self, task: Task, answer: Answer) -> None: ...


class Grid:
    """The runs of a study that are not done. Failed ones are left, unless `retry`: then only they
    are done."""

    def __init__(self, runs: Iterable[Run], retry: bool = False) -> None:
        self.report = Report()
        self._waiting: deque[Run] = deque()
        for one in standings(runs):
            self.report.total += 1
            if one.state is State.DONE:
                self.report.skipped += 1
            elif one.state is State.FAILED and not retry:
                self.report.failed.append((one.run, f"{one.error} (before; see tiebreak retry)"))
            elif one.state is State.FAILED or not retry:
                self._waiting.append(one.run)

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Task | None:
        return Task(self._waiting.popleft()) if self._waiting else None

    def answer(self, task: Task, answer: Answer) -> None:
        self.report.take(task, answer)


def describe(run: Run) -> str:
    names = run.names
    return f"{names['scenario']} · {names['method']} · seed {run.seed} ({run_id(run)})"


__all__ = ["Answer", "Grid", "Report", "Standing", "Task", "Tasks", "describe"]
