"""A table as lines, one per cell, full precision and unscaled units, with its runs; as CSV."""

from __future__ import annotations

import io
from collections.abc import Iterator
from csv import writer
from typing import Any

from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.published import Published
from tiebreak_analysis.tables.table import Cell, Row, Section, Table

HEADER = (
    "model data data_hash evaluator validation scenario row method metric gain "
    "mean low high num_seeds num_items best tied behind behind_low behind_high p "
    "published published_unit published_source published_marks "
    "n planned group_id run_ids stale"
).split()


def csv(table: Table) -> str:
    """An empty field: not measured, not tested or not told."""
    stream = io.StringIO()
    out = writer(stream, lineterminator="\n")
    out.writerows([HEADER, *lines(table)])
    return stream.getvalue()


def lines(table: Table) -> Iterator[list[Any]]:
    """One per cell, as HEADER names them. None: empty. `p` is Holm's, against the best."""
    for section in table.sections:
        for row in section.rows:
            figures = row.published or (None,) * len(section.columns)
            for column, cell, figure in zip(section.columns, row.cells, figures, strict=True):
                if cell is not None or figure is not None or row.missing:
                    yield _line(section, row, column, cell, figure)


def _line(
    section: Section, row: Row, column: Column, cell: Cell | None, figure: Published | None
) -> list[Any]:
    place = [section.model, section.data, section.data_hash, section.evaluator]
    who = [_flag(section.validation), row.scenario, row.label, row.method]
    run_ids = () if cell is None else cell.run_ids
    stale = [run_id for run_id in run_ids if run_id in row.stale]
    ids = [row.group_id, " ".join(run_ids), " ".join(stale)]
    what = [column.metric, _flag(column.gain)]
    return [*place, *who, *what, *_numbers(cell), *_figure(figure), row.n, row.planned, *ids]


def _numbers(cell: Cell | None) -> list[Any]:
    if cell is None:
        return [None] * 11
    i, behind = cell.interval, cell.behind
    gap = [None] * 3 if behind is None else [behind.mean, behind.low, behind.high]
    counts = [cell.num_seeds, cell.num_items]
    return [i.mean, i.low, i.high, *counts, _flag(cell.best), _flag(cell.tied), *gap, cell.p]


def _figure(figure: Published | None) -> list[Any]:
    if figure is None:
        return [None] * 4
    return [figure.value, figure.unit, figure.source, " ".join(figure.marks)]


def _flag(value: bool) -> int:
    return int(value)
