"""What `analysis`, which reads records only, needs to know of sweeps and methods: planned runs,
conventions, studies. And a finished comparison sent to W&B.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tiebreak.catalogue import parts
from tiebreak.compose import Run
from tiebreak.config.schema import TrackerConfig, TrackerMode
from tiebreak.errors import UserError
from tiebreak.methods import METHODS
from tiebreak.sweep.search import compared
from tiebreak.track import wandb_environment
from tiebreak.track.mirror import opened
from tiebreak_analysis.records.files import settings
from tiebreak_analysis.records.runs import Runs
from tiebreak_analysis.studies import STUDIES, StudyReport, StudyResult
from tiebreak_analysis.studies.study import Sweeps
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Section, Table

SHORT = 40  # characters: a footnote this short says too little by itself
PLACE = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)")
READABLE = 40  # characters of a W&B id; W&B takes 64


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
    first, *others = re.split(r"(?<=[.;]) ", " ".join(" ".join(lines).split()))
    told = " ".join([first, *(others[:1] if len(first) < SHORT else [])])
    return told.rstrip(".;").replace("`", "")  # no table needs code marks


@dataclass(frozen=True)
class Answer:
    """What `runs` say so far about a sweep, a study, or all of them. run_ids None: all."""

    title: str
    runs: Runs
    """Without evaluations that nobody asks for here: a search judges its trials on rows of their
    own, and another sweep may have measured the same policy in another way."""
    tables: Mapping[str, Table]
    run_ids: frozenset[str] | None
    findings: tuple[str, ...] = ()

    def page(self, live: bool = False) -> str:
        """One HTML document; live: one that follows the runs."""
        from tiebreak_analysis.page import write

        return write(self.title, self.runs, self.tables, run_ids=self.run_ids,
                     findings=self.findings, live=live)  # fmt: skip


def answer(
    runs: Runs,
    name: str | None,
    extra: Sequence[str],
    command: str,
    metrics: Sequence[str] | None = None,
) -> Answer:
    """What records say about all runs (None), a study, or a sweep. metrics: the columns of the
    table instead of the usual ones; a study has one table then. UserError: nothing is finished, or
    no run has one of the metrics."""
    if name is None:
        table = comparison(runs, metrics=metrics, command=command, footnotes=footnotes())
        return Answer("All runs", runs, {"comparison": table}, None)
    study = STUDIES.get(name)
    if study and extra:
        raise UserError(f"{extra[0]}: a study has its own settings; leave it out")
    nothing = UserError(
        f"no run of {name} is finished yet; do them with: tiebreak "
        f"{'study' if study else 'sweep'} {name}"
    )
    if study and metrics is None:
        told = study_answer(study, runs, sweeps_of(study), command)[1]
        if not told.tables:
            raise nothing
        return told
    sweeps = study.sweeps if study else (name,)
    asked = {run.run_id: run for sweep in sweeps for run in planned(compared(sweep, extra))}
    runs = runs.measured_by((run.run_id, run.evaluation) for run in asked.values())
    if not any(record.finished and record.run_id in asked for record in runs.records):
        raise nothing
    table = comparison(runs, planned=list(asked.values()), metrics=metrics, command=command,
                       footnotes=footnotes())  # fmt: skip
    return Answer(name, runs, {name: table}, frozenset(asked))


def sweeps_of(study: StudyReport, real: bool = False, extra: Sequence[str] = ()) -> Sweeps:
    """The runs that a study's sweeps ask for, with `extra` keys set; real: with the papers'
    settings, not in miniature."""
    return {name: planned(compared(name, extra)) for name in (study.real if real else study.sweeps)}


def study_answer(
    study: StudyReport, runs: Runs, sweeps: Sweeps, command: str, draw: bool = False
) -> tuple[StudyResult, Answer]:
    """What the runs of these sweeps answer so far. draw: with figures."""
    asked = [run for runs_of_sweep in sweeps.values() for run in runs_of_sweep]
    runs = runs.measured_by((run.run_id, run.evaluation) for run in asked)
    result = study.build(runs, sweeps, command, footnotes(), draw)
    findings = tuple(effect.words for effect in result.effects)
    ids = frozenset(run.run_id for run in asked)
    return result, Answer(result.title, runs, result.tables, ids, findings)


def place_of(text: str) -> TrackerConfig:
    """The W&B project of `PROJECT` or `ENTITY/PROJECT`; online if there is a key, else a log for
    `wandb sync`. UserError: it is neither, or W&B is switched off."""
    found = PLACE.fullmatch(text)
    if found is None:
        raise UserError(f"--wandb {text!r}: give PROJECT or ENTITY/PROJECT")
    if wandb_environment.mode("auto") == "disabled":
        raise UserError("--wandb: WANDB_MODE=disabled; unset it, or give it offline")
    return TrackerConfig(name="wandb", mode=TrackerMode.AUTO, project=found[2], entity=found[1])


def publish(name: str, table: Table, place: TrackerConfig, folder: Path) -> str:
    """Sends `table` under `name` as a W&B run of its own; returns where it is. The same name and
    command renew that run. UserError: not all of it arrived; the reason was said."""
    from tiebreak_analysis.page import table_document
    from tiebreak_analysis.records.wandb import COMPARISON
    from tiebreak_analysis.tables.data import HEADER, lines

    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:READABLE]
    about = {
        "id": f"comparison-{slug}-{sha256(f'{name} {table.command}'.encode()).hexdigest()[:8]}",
        "name": name, "group": COMPARISON, "job_type": COMPARISON,
        "config": {"tiebreak": COMPARISON, "command": table.command},
    }  # fmt: skip
    with opened(place, about, folder) as mirror:
        summary = {"status": COMPARISON, **_every_interval(table)}
        mirror.comparison(summary, table_document(table), HEADER, list(lines(table)))
        where = mirror.where
        if not mirror.finish() or where is None:
            raise UserError(f"--wandb: not all of {name} was sent; the reason stands above")
    return where


def _every_interval(table: Table) -> dict[str, float]:
    """Summary values of a W&B run; n and who is tied stand in the rows of its table."""
    summary: dict[str, float] = {}
    for section in table.sections:
        for row in section.rows:
            for column, cell in zip(section.columns, row.cells, strict=True):
                if cell is not None:
                    key = _key(table, section, row.scenario, row.label, column.key)
                    mean, low, high = cell.interval.mean, cell.interval.low, cell.interval.high
                    values = {key: mean, f"{key}/low": low, f"{key}/high": high}
                    summary |= {name: v for name, v in values.items() if v is not None}
    return summary


def _key(table: Table, section: Section, *parts: str) -> str:
    """With the section's title where there are several. W&B sorts and filters by plain names."""
    place = [] if len(table.sections) == 1 else [section.title]
    return "/".join(re.sub(r"[^\w.=/-]+", "_", part).strip("_") for part in (*place, *parts))
