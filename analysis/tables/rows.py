"""The rows of one section: per scenario its start model, then one row per group of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from analysis.runs import Record
from analysis.statistics import mean_interval
from analysis.tables import labels
from analysis.tables.table import SHORT, START, Cell, Column, Row


def rows_of(
    records: Sequence[Record],
    columns: Sequence[Column],
    scenarios: Sequence[str],
    methods: Sequence[str],
    level: float,
) -> Iterator[Row]:
    """Rows in the order of `scenarios` and `methods`; those not named there follow by name."""
    shared = labels.shared_settings(records)
    blocks = labels.tell_apart(
        {record.group_id: record.scenario for record in records},
        {group: labels.part(settings, "scenario") for group, settings in shared.items()},
    )
    inside: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        inside[blocks[record.group_id]].append(record)

    def place(block: str) -> tuple[int, list[tuple[float, str]]]:
        return _rank(inside[block][0].scenario, scenarios), labels.natural(block)

    for block in sorted(inside, key=place):
        rows = _method_rows(block, inside[block], columns, level)
        rows.sort(key=lambda row: (_rank(row.method, methods), labels.natural(row.label)))
        yield _start_row(block, inside[block], columns, level)
        yield from _mark_best(rows, columns)


def _rank(name: str | None, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _start_row(
    block: str, records: Sequence[Record], columns: Sequence[Column], level: float
) -> Row:
    """Each distinct start model counts once, however many runs began from it."""
    cells = []
    for column in columns:
        first: dict[str, tuple[str, float]] = {}
        for record in records:
            value = record.start.get(column.metric)
            if value is not None and not column.gain:
                first.setdefault(_start_model(record), (record.run_id, value))
        cells.append(_cell(dict(first.values()), level))
    count = len({_start_model(record) for record in records})
    run_ids = tuple(record.run_id for record in records)
    return Row(block, START, None, None, count, run_ids, tuple(cells))


def _start_model(record: Record) -> str:
    assert record.start_model is not None, "the record of a finished run names its start model"
    return record.start_model


def _method_rows(
    block: str, records: Sequence[Record], columns: Sequence[Column], level: float
) -> list[Row]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.group_id].append(record)
    rows = []
    for group, label in _labels(records).items():
        cells = []
        for column in columns:
            values = {record.run_id: column.value(record) for record in groups[group]}
            cells.append(_cell({k: v for k, v in values.items() if v is not None}, level))
        run_ids = tuple(record.run_id for record in groups[group])
        method = groups[group][0].method
        rows.append(Row(block, label, method, group, len(run_ids), run_ids, tuple(cells)))
    return rows


def _labels(records: Sequence[Record]) -> dict[str, str]:
    """Group id -> row label; the group id itself joins where the settings tell nothing apart."""
    settings = labels.shared_settings(records)
    found = labels.tell_apart(
        {record.group_id: record.method for record in records},
        {group: labels.rest(s, "scenario", "model") for group, s in settings.items()},
    )
    taken = list(found.values())
    return {
        group: label if taken.count(label) == 1 else f"{label} [group {group[:SHORT]}]"
        for group, label in found.items()
    }


def _cell(values: Mapping[str, float], level: float) -> Cell | None:
    """`values`: run id -> value. None when no run has the metric."""
    if not values:
        return None
    return Cell(mean_interval(list(values.values()), level), tuple(values))


def _mark_best(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Mark the highest mean of a column, given two methods or more to choose from."""
    marked = [list(row.cells) for row in rows]
    for at, column in enumerate(columns):
        present = [(row.method, cell) for row in rows if (cell := row.cells[at]) is not None]
        if not column.higher_is_better or len({method for method, _ in present}) < 2:
            continue
        highest = max(cell.interval.mean for _, cell in present)
        for cells in marked:
            cell = cells[at]
            if cell is not None and cell.interval.mean == highest:
                cells[at] = replace(cell, best=True)
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True)]
