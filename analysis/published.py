"""Figures that papers published, to stand beside ours: `published/figures.csv`, read.

`published/README.md` says where they come from.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tiebreak.errors import UserError, nearest

FILE = Path(__file__).with_name("published") / "figures.csv"
COLUMNS = "paper version table scenario model method metric value unit source marks".split()
PAPERS = {"arizona": "2404.14723", "simpo": "2405.14734", "dpop": "2402.13228",
          "tdpo": "2404.11999", "fpo": "FPO"}  # fmt: skip
"""Name of a study, or of a re-run of one -> the paper, by arXiv number where it has one."""


@dataclass(frozen=True)
class PublishedFigure:
    """One published figure, in the unit in which it was published."""

    value: float
    unit: str
    """As a column prints its own: "%" for a share in per cent, "tokens", "nats", "" for none."""
    source: str
    """Paper and table, or repository and file: where a reader finds the figure."""
    marks: tuple[str, ...] = ()
    """What a reader must know before trusting it: `secondary`, `SUSPECT`, ..."""
    spread: float | None = None
    """By how much replications of this figure are known to differ, in the same unit."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError(f"a published value needs a source: {self.value!r}")
        if not math.isfinite(self.value):
            raise ValueError(f"a published value must be a finite number: {self.value!r}")
        if self.spread is not None and not (math.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(f"spread must be a finite number, 0 or more: {self.spread!r}")


Figures = Mapping[tuple[str | None, str, str], PublishedFigure]
"""(scenario, or None for any; method, row label or "start model"; column key) -> figure."""
Reference = tuple[str, tuple[str, ...]]
"""Source and marks: cells of one table of one paper share a letter."""


REPLICATION_SPREAD = {"2405.14734": 7.0}
"""Paper -> by how many per cent a re-run by others lay from its figures on RERUN, at most.

A smaller difference needs repeats before it is claimed. RePO's re-run of Mistral-Instruct DPO has
20.3, 17.9 and 13.4 where SimPO's README has 26.8, 24.9 and 16.3.
"""
RERUN = ("alpacaeval2/lc", "alpacaeval2/wr", "arena-hard/wr")


@dataclass(frozen=True)
class FigureRow:
    """One line of `figures.csv`."""

    paper: str
    version: str
    table: str
    scenario: str
    model: str
    method: str
    metric: str
    figure: PublishedFigure


def listed(paper: str) -> list[FigureRow]:
    """The rows of a paper in the order of the file. UserError: an unknown paper."""
    if paper not in PAPERS:
        raise UserError(
            f"no published figures of {paper!r}{nearest(paper, PAPERS)}; there are those of "
            f"{', '.join(PAPERS)}"
        )
    return [row for row in _rows() if row.paper == PAPERS[paper]]


def published(paper: str, model: str, *, versions: Sequence[str] = ()) -> Figures:
    """(scenario, method, metric) -> figure, for runs of `model`.

    `versions`: where a cell was published more than once, the first of these that has it.
    UserError: a cell that several versions have and `versions` does not decide.
    """
    cells: dict[tuple[str | None, str, str], FigureRow] = {}
    rows = [row for row in listed(paper) if row.model == model]
    if versions:
        rows = [row for version in versions for row in rows if row.version == version]
    for row in rows:
        first = cells.setdefault((row.scenario, row.method, row.metric), row)
        decided = first.version != row.version and versions
        if first.figure.value != row.figure.value and not decided:
            raise UserError(
                f"{paper}: {row.metric} of {row.method} in {row.scenario} was published twice "
                f"({first.version}, {first.table}; {row.version}, {row.table}); name the version"
            )
    return {key: row.figure for key, row in cells.items()}


def within_spread(ours: float, figure: PublishedFigure, unit: str) -> bool:
    """Whether our printed value is as near as replications of that figure are known to be to one
    another; False where no spread is known or the two are in different units."""
    comparable = figure.spread is not None and figure.unit == unit
    return comparable and abs(ours - figure.value) <= figure.spread


def references(figures: Iterable[PublishedFigure]) -> dict[Reference, str]:
    """A letter for each source and set of marks, in the order in which a reader meets them."""
    distinct = dict.fromkeys((figure.source, figure.marks) for figure in figures)
    return {reference: _letters(at) for at, reference in enumerate(distinct)}


def _letters(at: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    before, last = divmod(at, 26)
    return (_letters(before - 1) if before else "") + "abcdefghijklmnopqrstuvwxyz"[last]


@cache
def _rows() -> tuple[FigureRow, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS, f"figures.csv has columns {reader.fieldnames}"
        return tuple(_row(line) for line in reader)


def _row(line: dict[str, str]) -> FigureRow:
    spread = REPLICATION_SPREAD.get(line["paper"]) if line["metric"] in RERUN else None
    where = f"{line['paper']} {line['version']}, {line['table']} ({line['source']})"
    figure = PublishedFigure(
        float(line["value"]), line["unit"], where, tuple(line["marks"].split()), spread
    )
    return FigureRow(*(line[name] for name in COLUMNS[:7]), figure=figure)
