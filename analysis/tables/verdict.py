"""What a section says of each scenario, in plain words, by the first column with a better end."""

from __future__ import annotations

from collections.abc import Sequence

from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.table import Cell, Row, Verdict
from tiebreak_analysis.tables.ties import FEW

MANY = 6  # names beyond this are counted instead


def verdict(rows: Sequence[Row], columns: Sequence[Column], too_many: int = 0) -> Verdict | None:
    """Of one scenario's rows. None: fewer than two methods, or no column has a better end.

    `too_many`: pairs that were not tested, because there are too many.
    """
    place = next((at for at, c in enumerate(columns) if c.higher_is_better and not c.gain), None)
    if place is None:
        return None
    have = [(row, cell) for row in rows
            if row.method is not None and (cell := row.cells[place]) is not None]  # fmt: skip
    if len({row.method for row, _ in have}) < 2:
        return None
    column, scenario = columns[place], rows[0].scenario
    ranked = sorted(have, key=lambda one: -one[1].interval.mean)
    best = next((row.label for row, cell in ranked if cell.best), None)
    tied = tuple(row.label for row, cell in ranked if cell.tied)
    lower = [(row, cell) for row, cell in ranked if cell.p is not None and not cell.tied]
    left = [(row, cell) for row, cell in ranked if cell.p is None and not cell.best]
    names = tuple(row.label for row, _ in left)
    if best is None:
        why = f"{too_many} pairs are too many to test" if too_many else _why(left)
        text = f"no verdict on {column.metric}: {why}"
        return Verdict(scenario, column.metric, text, None, untested=names)
    first = f"{_names((best, *tied))} tied for best" if tied else f"{best} has the best"
    parts = [f"{first} {column.metric}", *_lower(lower, column)]
    parts += [f"{_names(names)} not compared, {_why(left)}"] * bool(left)
    told = tuple(row.label for row, _ in lower)
    return Verdict(scenario, column.metric, "; ".join(parts), best, tied, told, names)


def _why(untested: Sequence[tuple[Row, Cell]]) -> str:
    if any(cell.num_seeds < FEW for _, cell in untested):
        return f"fewer than {FEW} seeds"
    return f"fewer than {FEW} seeds in common, or differences without any spread"


def _names(names: Sequence[str]) -> str:
    if len(names) <= MANY:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} others"


def _lower(rows: Sequence[tuple[Row, Cell]], column: Column) -> list[str]:
    if not rows:
        return []
    if len(rows) <= MANY:
        each = [f"{row.label} lower by {_behind(cell, column)}" for row, cell in rows]
        return [", ".join(each)]
    apart = [cell.behind.mean for _, cell in rows if cell.behind is not None]
    low, high = column.text(min(apart)), column.text(max(apart))
    return [f"{len(rows)} others lower by {low} to {high}{_unit(column)}"]


def _behind(cell: Cell, column: Column) -> str:
    behind = cell.behind
    assert behind is not None and behind.low is not None and behind.high is not None
    low, high = column.text(behind.low), column.text(behind.high)
    return f"{column.text(behind.mean)}{_unit(column)} [{low}, {high}]"


def _unit(column: Column) -> str:
    return f" {column.unit_of_difference}" if column.unit_of_difference else ""
