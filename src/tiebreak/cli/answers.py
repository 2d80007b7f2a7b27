"""From sweeps to what `analysis` needs to know of them: planned runs, conventions, studies.

`analysis` reads records and knows neither sweep files nor method files; this is the seam.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tiebreak.catalogue import parts
from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.methods import METHODS
from tiebreak.sweep.search import compared
from tiebreak_analysis.records.files import settings
from tiebreak_analysis.records.runs import Runs
from tiebreak_analysis.studies import STUDIES, StudyReport, StudyResult
from tiebreak_analysis.studies.study import Sweeps
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Table

SHORT = 40  # characters: a footnote this short says too little by itself


def planned(runs: Iterable[Run]) -> list[Planned]:
    """The runs a study asks for, as their configs name them."""
    return [
        Planned(
            run.run_id, run.group_id, names["model"], names["data"], names["scenario"],
            names["method"], material(settings(run.resolved)), run.evaluation_id,
        )
        for run in runs
        for names in [run.names]
    ]  # fmt: skip


def footnotes() -> dict[str, str]:
    """Method -> the beginning of its convention card: a sentence, or two short ones."""
    return {name: _beginning(parts(name).get("Convention", [])) for name in METHODS}


def _beginning(lines: Iterable[str]) -> str:
    sentences = re.split(r"(?<=[.;]) ", " ".join(" ".join(lines).split()))
    told = sentences[0]
    if len(told) < SHORT and len(sentences) > 1:
        told += f" {sentences[1]}"
    return told.rstrip(".;").replace("`", "")  # no table needs code marks


@dataclass(frozen=True)
class Answer:
    """What records say so far about a sweep, a study, or all runs. run_ids None: all."""

    title: str
    tables: Mapping[str, Table]
    run_ids: frozenset[str] | None
    findings: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: StudyResult, run_ids: Iterable[str]) -> Answer:
        findings = tuple(effect.words for effect in result.effects)
        return cls(result.title, result.tables, frozenset(run_ids), findings)


def answer(
    runs: Runs,
    name: str | None,
    extra: Sequence[str],
    command: str,
    metrics: Sequence[str] | None = None,
) -> Answer:
    """What records say about all runs (None), a study, or a sweep.

    `metrics`: the columns of the table instead of the usual ones; a study has one table then.
    UserError: nothing is finished, or no run has one of the metrics.
    """
    if name is None:
        table = comparison(runs, metrics=metrics, command=command, footnotes=footnotes())
        return Answer("All runs", {"comparison": table}, None)
    if name in STUDIES and extra:
        raise UserError(f"{extra[0]}: a study has its own settings; leave it out")
    if name in STUDIES and metrics is None:
        study = study_answer(STUDIES[name], runs, sweeps_of(STUDIES[name]), command)[1]
        if not study.tables:
            raise UserError(_nothing_finished(name))
        return study
    sweeps = STUDIES[name].sweeps if name in STUDIES else (name,)
    asked = {run.run_id: run for sweep in sweeps for run in planned(compared(sweep, extra))}
    runs = _as_asked(runs, asked.values())
    if not any(record.finished and record.run_id in asked for record in runs.records):
        raise UserError(_nothing_finished(name))
    table = comparison(
        runs,
        planned=list(asked.values()),
        metrics=metrics,
        command=command,
        footnotes=footnotes(),
    )
    return Answer(name, {name: table}, frozenset(asked))


def _nothing_finished(name: str) -> str:
    kind = "study" if name in STUDIES else "sweep"
    return f"no run of {name} is finished yet; do them with: tiebreak {kind} {name}"


def sweeps_of(study: StudyReport, real: bool = False) -> Sweeps:
    """The runs that the sweeps of a study ask for; real: those with the papers' own settings,
    instead of those in miniature."""
    return {name: planned(compared(name)) for name in (study.real if real else study.sweeps)}


def study_answer(
    study: StudyReport, runs: Runs, sweeps: Sweeps, command: str, draw: bool = False
) -> tuple[StudyResult, Answer]:
    """What the runs of these sweeps answer so far. draw: with figures."""
    asked = [run for runs_of_sweep in sweeps.values() for run in runs_of_sweep]
    result = study.build(_as_asked(runs, asked), sweeps, command, footnotes(), draw)
    return result, Answer.of(result, (run.run_id for run in asked))


def _as_asked(runs: Runs, asked: Iterable[Planned]) -> Runs:
    """The runs without evaluations that nobody asks for here: a search judges its trials on rows of
    their own, and another sweep may have measured the same policy in another way."""
    wanted: dict[str, set[str | None]] = defaultdict(set)
    for run in asked:
        wanted[run.run_id].add(run.evaluation)
    records = tuple(
        record
        for record in runs.records
        if record.evaluation is None
        or record.run_id not in wanted
        or wanted[record.run_id] & {record.evaluation, None}
    )
    return replace(runs, records=records)
