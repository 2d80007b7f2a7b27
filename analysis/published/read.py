"""`figures.csv`, read: the figures of one paper as a mapping that a table takes, or as rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tiebreak.errors import UserError, nearest
from tiebreak_analysis.tables.published import Figures, Published

FILE = Path(__file__).with_name("figures.csv")
COLUMNS = "paper version table scenario model method metric value unit source marks".split()
PAPERS = {
    "arizona": "2404.14723",
    "simpo": "2405.14734",
    "dpop": "2402.13228",
    "tdpo": "2404.11999",
    "fpo": "FPO",
}
"""Name of a study, or of a re-run of one -> the paper, by arXiv number where it has one."""


@dataclass(frozen=True)
class Spread:
    """How far a re-run by others came to lie from the published figures, at most."""

    value: float
    unit: str
    source: str


REPLICATION_SPREAD = {
    "2405.14734": Spread(
        7.0,
        "%",
        "RePO's re-run of Mistral-Instruct DPO: 20.3, 17.9 and 13.4 where SimPO's README has 26.8, "
        "24.9 and 16.3",
    )
}
"""A difference below this on AlpacaEval 2 or Arena-Hard needs repeats before it is claimed."""
RERUN = ("alpacaeval2/lc", "alpacaeval2/wr", "arena-hard/wr")  # what that re-run measured


@dataclass(frozen=True)
class Row:
    """One line of the file."""

    paper: str
    version: str
    table: str
    scenario: str
    model: str
    method: str
    metric: str
    figure: Published


def listed(paper: str, version: str | None = None, table: str | None = None) -> list[Row]:
    """The rows of a paper in the order of the file. UserError: an unknown paper."""
    if paper not in PAPERS:
        raise UserError(
            f"no published figures of {paper!r}{nearest(paper, PAPERS)}; there are those of "
            f"{', '.join(PAPERS)}"
        )
    return [
        row
        for row in _rows()
        if row.paper == PAPERS[paper]
        and version in (None, row.version)
        and table in (None, row.table)
    ]


def published(
    paper: str, model: str, *, versions: Sequence[str] = (), table: str | None = None
) -> Figures:
    """(scenario, method, metric) -> figure, for runs of `model`.

    `versions`: where a cell was published more than once, the first of these that has it.
    UserError: a cell that several versions have and `versions` does not decide.
    """
    found: dict[tuple[str | None, str, str], Row] = {}
    rows = [row for row in listed(paper, table=table) if row.model == model]
    rows = [row for row in rows if not versions or row.version in versions]
    if versions:
        rows.sort(key=lambda row: versions.index(row.version))
    for row in rows:
        here = found.setdefault((row.scenario, row.method, row.metric), row)
        decided = here.version != row.version and versions
        if here.figure.value != row.figure.value and not decided:
            raise UserError(
                f"{paper}: {row.metric} of {row.method} in {row.scenario} was published twice "
                f"({here.version}, {here.table}; {row.version}, {row.table}); name the version"
            )
    return {key: row.figure for key, row in found.items()}


@cache
def _rows() -> tuple[Row, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS, f"figures.csv has columns {reader.fieldnames}"
        return tuple(_row(line) for line in reader)


def _row(line: dict[str, str]) -> Row:
    spread = REPLICATION_SPREAD.get(line["paper"]) if line["metric"] in RERUN else None
    where = f"{line['paper']} {line['version']}, {line['table']} ({line['source']})"
    figure = Published(
        float(line["value"]),
        line["unit"],
        where,
        tuple(line["marks"].split()),
        None if spread is None else spread.value,
    )
    names = [line[name] for name in ("paper", "version", "table", "scenario", "model", "method")]
    return Row(*names, metric=line["metric"], figure=figure)
