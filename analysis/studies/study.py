"""What a study is: sweeps, the tables and figures they answer, and the effects they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tiebreak_analysis.published import FigureRow, Figures, listed
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.studies.effect import Effect
from tiebreak_analysis.studies.samples import finished
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sweeps = Mapping[str, Sequence[Planned]]
"""Name of a sweep -> the runs its file asks for."""
Done = Mapping[str, Sequence[Record]]
"""Name of a sweep -> its finished runs; every sweep of the study is there."""


@dataclass(frozen=True)
class TableSpec:
    """A table over the runs of some sweeps. metrics None: the usual columns."""

    name: str
    sweeps: tuple[str, ...]
    metrics: tuple[str, ...] | None = None
    published: Callable[[], Figures] | None = None


@dataclass(frozen=True)
class Report:
    """What a study answers so far."""

    title: str
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...]
    published: tuple[FigureRow, ...]


@dataclass(frozen=True)
class StudyReport:
    """A study. sweeps: in miniature, on the controlled world; real: the paper's own settings.

    effects and figures take all records, and the finished ones by sweep. papers: whose published
    figures the report lists.
    """

    name: str
    title: str
    sweeps: tuple[str, ...]
    real: tuple[str, ...]
    tables: tuple[TableSpec, ...]
    effects: Callable[[Runs, Done], tuple[Effect, ...]]
    figures: Callable[[Runs, Done], Mapping[str, Figure]]
    papers: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def build(
        self,
        runs: Runs,
        sweeps: Sweeps,
        command: str = "",
        footnotes: Mapping[str, str] | None = None,
        draw: bool = False,
    ) -> Report:
        """The report over these sweeps, those of the miniature or the real ones.

        Sweeps without a finished run are named in the notes and make no table; their effects say
        what is missing. command: what made the report, for the footers of its tables. footnotes:
        method -> its convention in a line. draw: figures too, which are most of the work.
        """
        everything = (*self.sweeps, *self.real)
        ids = {name: {one.run_id for one in sweeps.get(name, ())} for name in everything}
        done = {name: finished(runs, ids[name]) for name in everything}
        effects, figures = self.effects(runs, done), self.figures(runs, done) if draw else {}
        return Report(
            title=self.title,
            tables={
                spec.name: _table(spec, runs, sweeps, command or self.command, footnotes)
                for spec in self.tables
                if any(done[name] for name in spec.sweeps)
            },
            figures=figures,
            effects=effects,
            notes=(*self.notes, *_unstarted(sweeps, done), *_damaged(runs, done)),
            published=tuple(row for paper in self.papers for row in listed(paper)),
        )

    @property
    def command(self) -> str:
        return f"tiebreak study {self.name}"


def _table(
    spec: TableSpec,
    runs: Runs,
    sweeps: Sweeps,
    command: str,
    footnotes: Mapping[str, str] | None,
) -> Table:
    """Metrics that no finished run has yet make no column."""
    planned = {one.run_id: one for name in spec.sweeps for one in sweeps.get(name, ())}
    have = {name for record in finished(runs, planned) for name in record.metrics}
    metrics = None if spec.metrics is None else [name for name in spec.metrics if name in have]
    return comparison(
        runs,
        planned=list(planned.values()),
        metrics=metrics,
        published=None if spec.published is None else spec.published(),
        footnotes=footnotes,
        command=command,
    )


def _unstarted(sweeps: Sweeps, done: Done) -> list[str]:
    return [
        f"{name}: no run is finished yet; do them with: tiebreak sweep {name}"
        for name in sweeps
        if not done[name]
    ]


def _damaged(runs: Runs, done: Done) -> list[str]:
    """Known once effects and figures have asked for the files."""
    ids = {record.run_id for records in done.values() for record in records}
    return [
        f"{run_id}: {file} is damaged and not counted: {why}"
        for (run_id, file), why in sorted(runs.damaged.items())
        if run_id in ids
    ]
