"""How the parts of a cell are written, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.published import Published, Reference
from tiebreak_analysis.tables.table import Cell, Row, Section, Table

DAGGER = "†"
MISSING = "missing"


@dataclass(frozen=True)
class Parts:
    """A cell in words: `**mean**† ± half (n=2)`."""

    mean: str
    half: str
    """`-`: there is no interval."""
    best: bool
    tied: bool
    fewer: str
    """` (n=2)` where only two of the row's runs have this metric, else empty."""


def parts(row: Row, column: Column, cell: Cell) -> Parts:
    interval = cell.interval
    width = interval.half_width
    half = "-" if width is None else column.text(width)
    fewer = "" if interval.n == row.n else f" (n={interval.n})"
    return Parts(column.text(interval.mean, signed=column.gain), half, cell.best, cell.tied, fewer)


def figure_text(figure: Published, letters: Mapping[Reference, str]) -> str:
    """The value as it was published and the letter of its note."""
    return f"{figure.value:.10g} {letters[figure.source, figure.marks]}"


def header(section: Section) -> list[str]:
    """One text per printed column: a published column stands beside ours where there is one."""
    texts = ["scenario", "method"]
    for column, beside in zip(section.columns, section.published, strict=True):
        texts.append(column.heading)
        texts += ["published"] * beside
    return [*texts, "n"]


@dataclass(frozen=True)
class Slot:
    """One printed cell between the row's label and its n: ours, or a published figure."""

    column: Column
    cell: Cell | None
    figure: Published | None
    is_figure: bool


def slots(section: Section, row: Row) -> Iterator[Slot]:
    published = row.published or (None,) * len(section.columns)
    rest = zip(section.columns, row.cells, published, section.published, strict=True)
    for column, cell, figure, beside in rest:
        yield Slot(column, cell, None, False)
        if beside:
            yield Slot(column, None, figure, True)


def with_first(rows: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    """Each row, and whether it opens its scenario."""
    before = None
    for row in rows:
        yield row, row.scenario != before
        before = row.scenario


def runs_counted(table: Table) -> str:
    return f"{table.num_runs} finished run{'' if table.num_runs == 1 else 's'}"


def one_line(text: str) -> str:
    return " ".join(text.split())
