"""From sweeps to what `analysis` needs to know of them: planned runs, conventions, studies.

`analysis` reads records and knows neither sweep files nor method files; this is the seam.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.runs import Runs
from analysis.studies import STUDIES, StudyReport
from analysis.studies.study import Report
from analysis.tables.comparison import comparison
from analysis.tables.planned import Planned
from analysis.tables.table import Table
from tiebreak.config.identity import group_id, run_id
from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.launch.catalogue import parts
from tiebreak.launch.tuning import compared
from tiebreak.methods import METHODS


def planned(runs: Iterable[Run]) -> list[Planned]:
    """The runs a study asks for, as their configs name them."""
    return [
        Planned(
            run_id(run), group_id(run), names["model"], names["data"], names["scenario"],
            names["method"],
        )
        for run in runs
        for names in [run.names]
    ]  # fmt: skip


def footnotes() -> dict[str, str]:
    """Method -> its convention, from the card; what its reward is called is left out."""
    found = {}
    for name in METHODS:
        text = " ".join(" ".join(parts(name).get("Convention", [])).split())
        found[name] = text.split(" Implicit reward")[0].rstrip(".")
    return {name: text for name, text in found.items() if text}


def sweep_table(runs: Runs, name: str | None, extra: Sequence[str], command: str) -> Table:
    """The comparison over one sweep's runs, or over all. UserError: nothing is finished."""
    if name is None:
        return comparison(runs, command=command, footnotes=footnotes())
    asked = planned(compared(name, extra))
    ids = {one.run_id for one in asked}
    if not any(one.finished and one.run_id in ids for one in runs.records):
        raise UserError(f"no run of {name} is finished yet; do them with: tiebreak sweep {name}")
    return comparison(runs, planned=asked, command=command, footnotes=footnotes())


def study_named(name: str) -> StudyReport | None:
    """None: the name is a sweep's, or nobody's."""
    return STUDIES.get(name)


def study_report(study: StudyReport, runs: Runs, command: str, real: bool = False) -> Report:
    """What the records say about a study so far. real: of its sweeps with the papers' settings."""
    sweeps = {name: planned(compared(name)) for name in (study.real if real else study.sweeps)}
    return study.build(runs, sweeps, command, footnotes())
