"""Hyper-parameter search: the same number of trials for every method, then the best at each seed.
A trial is a run like any other, judged on the validation split; Optuna chooses its settings and
keeps them in a journal file, so that a killed search goes on with the trials it had. The policy
of the best trial is not trained again: only its evaluation on the test split is new.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tiebreak.compose import Run
from tiebreak.config.typed import Choice, Space
from tiebreak.errors import UserError
from tiebreak.home import runs_dir
from tiebreak.run import trials
from tiebreak.sweep.sweep_file import Sampler, Search, SweepFile, Values, read_sweep_file
from tiebreak.sweep.tasks import Grid, SweepResult, Task, WorkerReply, folder
from tiebreak.track.record import read_result

JOURNAL = "journal.log"


class SearchCell:
    """One point of the axes (without the seed): its method is tuned by itself."""

    def __init__(self, sweep: SweepFile, values: Values) -> None:
        assert sweep.search is not None
        self.sweep, self.search, self.values = sweep, sweep.search, values
        self.name = json.dumps(values, sort_keys=True)
        self.space = sweep.space(values)
        self.trials = trials.open_study(self.reference())
        self.left_over = deque(t for t in self.trials.trials if t.state.name == "RUNNING")
        check_space(self.search, self.space, self.name)

    def reference(self) -> dict[str, Any]:
        """What a worker needs to find the search: plain JSON."""
        study = f"{self.name} {json.dumps(list(self.sweep.extra))}"
        journal = str(folder(self.sweep.name) / JOURNAL)
        return {**asdict(self.search), "journal": journal, "study": study}

    def next(self) -> Task | None:
        """A trial a killed search left, or a new one while the budget lasts."""
        if self.left_over:
            old = self.left_over.popleft()
            return self._task(old.number, old.params)
        number = len(self.trials.trials)
        if number >= self.search.trials:
            return None
        if self.search.sampler is not Sampler.TPE:  # the settings depend on no other trial
            if self.search.sampler is Sampler.GRID:
                point = trials.grid(self.space)[number]
            else:
                point = trials.draw(self.space, f"{self.search.seed} {self.name}", number)
            self.trials.enqueue_trial({k: trials.plain(v) for k, v in point.items()})
        trial = self.trials.ask(trials.distributions(self.space))
        return self._task(trial.number, trial.params)

    def _task(self, number: int, settings: Mapping[str, Any]) -> Task:
        run = self.run(settings, self.search.seed, "validation")
        return Task(run, {**self.reference(), "number": number, "cell": self.name})

    def run(self, settings: Mapping[str, Any], seed: int, split: str) -> Run:
        return self.sweep.run(self.values, {**settings, "seed": seed, "evaluation.split": split})

    def answer(self, task: Task, reply: WorkerReply) -> None:
        from optuna.trial import TrialState

        assert task.trial is not None
        number = task.trial["number"]
        if "pruned" in reply:
            self.trials.tell(number, state=TrialState.PRUNED)
        elif "error" in reply:
            self.trials.tell(number, state=TrialState.FAIL)
        elif "stopped" not in reply:  # else it stays open, and the next search goes on with it
            self.trials.tell(number, self._value(task.run))

    def _value(self, run: Run) -> float:
        metrics = read_result(runs_dir() / run.run_id, run.evaluation_id)["metrics"]
        if (name := self.search.metric) not in metrics:
            there = ", ".join(sorted(metrics))
            raise UserError(
                f"search.metric={name!r} is not in the result of a trial; it has {there}"
            )
        return metrics[name]

    def finals(self) -> list[Run]:
        """The best complete trial's settings at every seed, on the test split; empty while trials
        are open, and when none is complete."""
        drawn = self.trials.trials
        complete = [trial for trial in drawn if trial.state.name == "COMPLETE"]
        is_open = len(drawn) < self.search.trials or not all(t.state.is_finished() for t in drawn)
        if is_open or not complete:
            return []
        sign = 1 if self.search.maximise else -1
        best = max(complete, key=lambda t: (sign * (t.value or 0.0), -t.number))
        return [self.run(best.params, seed, "test") for seed in self.sweep.seeds()]


class SearchTasks:
    """The trials of all cells in turn, and each cell's final runs once its trials are done."""

    def __init__(self, sweep: SweepFile, retry: bool = False) -> None:
        self.result = SweepResult()
        self._retry = retry
        self._cells = deque(SearchCell(sweep, values) for values in sweep.cells())
        self._open = {cell.name: cell for cell in self._cells}
        self._finals: deque[Task] = deque()
        per_cell = sweep.search.trials if sweep.search else 0
        self.result.total = len(self._cells) * (per_cell + len(sweep.seeds()))
        self.result.skipped = sum(
            trial.state.is_finished() for cell in self._cells for trial in cell.trials.trials
        )
        self._left = self.result.total - self.result.skipped
        for cell in self._cells:
            self._give_finals(cell)

    def __len__(self) -> int:
        return self._left

    def next(self) -> Task | None:
        if self._finals:
            return self._finals.popleft()
        for _ in range(len(self._cells)):
            cell = self._cells[0]
            self._cells.rotate(-1)
            if (task := cell.next()) is not None:
                return task
        return None

    def answer(self, task: Task, reply: WorkerReply) -> None:
        self.result.take(task, reply)
        if task.trial is not None:
            cell = self._open[task.trial["cell"]]
            cell.answer(task, reply)
            self._give_finals(cell)

    def _give_finals(self, cell: SearchCell) -> None:
        if not (runs := cell.finals()):
            return
        del self._open[cell.name]
        grid = Grid(runs, self._retry)
        self.result.skipped += grid.result.skipped
        self.result.failed += grid.result.failed
        self._finals.extend(iter(grid.next, None))


def compared(name: str, extra: Sequence[str] = ()) -> list[Run]:
    """The runs a table of a sweep compares: all; of a tuned one each cell's best setting, where it
    is known."""
    sweep = read_sweep_file(name, extra)
    if sweep.search is None:
        return sweep.runs()
    return [run for cell in _begun(sweep) for run in cell.finals()]


def known(sweep: SweepFile) -> tuple[list[Run], int]:
    """The runs of a search as far as it has come: trials drawn, and each cell's final runs once its
    best setting is known; and how many are still to be chosen."""
    assert sweep.search is not None
    runs = []
    for cell in _begun(sweep):
        runs += [cell.run(t.params, cell.search.seed, "validation") for t in cell.trials.trials]
        runs += cell.finals()
    per_cell = sweep.search.trials + len(sweep.seeds())
    return runs, per_cell * sum(1 for _ in sweep.cells()) - len(runs)


def _begun(sweep: SweepFile) -> list[SearchCell]:
    """The cells of a search; none before it has begun."""
    begun = (folder(sweep.name) / JOURNAL).is_file()
    return [SearchCell(sweep, values) for values in sweep.cells()] if begun else []


def check_space(search: Search, space: Space, cell: str) -> None:
    """UserError where a search has nothing to tune, or more trials than there are settings."""
    if not space:
        raise UserError(
            f"nothing to tune for {cell}: its method has no search space; give search.space in "
            "the sweep, or leave the method out"
        )
    if search.sampler is Sampler.GRID:
        for key, values in space.items():
            if not isinstance(values, Choice):
                raise UserError(f"search.sampler=grid needs lists, and {key} is an interval")
    points = math.prod(len(v.values) if isinstance(v, Choice) else math.inf for v in space.values())
    if points < search.trials and search.sampler is not Sampler.TPE:
        raise UserError(
            f"search.trials={search.trials}, and {cell} has {points} different settings; the "
            f"budget must be the same for all methods: give search.trials={points} or less, or "
            "widen search.space"
        )
