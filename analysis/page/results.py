"""The final numbers of every run, and per group their mean and interval: what frontiers show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiebreak.metrics import axis_unit
from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.statistics import Interval, mean_interval
from tiebreak_analysis.tables.table import Table

DIGITS = 5
FIRST = ("kl/reference", "gold/reward")  # what the page opens with, where measured


def results(groups: Sequence[Group], tables: Sequence[Table], level: float) -> dict[str, Any]:
    """`runs`: run id -> metric -> value; `groups`: group id -> metric -> [mean, low, high];
    `starts`: group id -> metric -> the start model's values (distinct ones).

    `axes`: the metrics to open with, x then y. Where a table has the interval, it is that one;
    else over seeds, at `level`.
    """
    printed = _printed(tables)
    finished = {g.group_id: [r for r in g.records if r.finished] for g in groups}
    names = sorted({name for rs in finished.values() for r in rs for name in r.metrics})
    axes = [name for name in FIRST if name in names]
    axes += [name for name in reversed(names) if name not in axes]
    intervals: dict[str, dict[str, list[float | None]]] = {}
    starts: dict[str, dict[str, list[float]]] = {}
    for group, records in finished.items():
        for name in names:
            values = [r.metrics[name] for r in records if name in r.metrics]
            if values:
                found = printed.get((group, name)) or mean_interval(values, level)
                told = [_short(v) for v in (found.mean, found.low, found.high)]
                intervals.setdefault(group, {})[name] = told
            before = {_short(r.start[name]) for r in records if name in r.start}
            if before:
                starts.setdefault(group, {})[name] = sorted(v for v in before if v is not None)
    return {
        "names": names,
        "units": {name: unit for name in names if (unit := axis_unit(name))},
        "axes": axes[:2] if len(axes) > 1 else axes * 2,
        "runs": {
            r.run_id: {name: _short(value) for name, value in r.metrics.items()}
            for records in finished.values()
            for r in records
        },
        "groups": intervals,
        "starts": starts,
    }


def _printed(tables: Sequence[Table]) -> dict[tuple[str | None, str], Interval]:
    """(group id, metric) -> the interval of the first table that has it."""
    return {
        (row.group_id, column.metric): cell.interval
        for table in reversed(tables)
        for section in table.sections
        for row in section.rows
        for column, cell in zip(section.columns, row.cells, strict=True)
        if cell is not None and not column.gain
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
