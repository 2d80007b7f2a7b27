"""The rows of one section: per scenario its start model, then one row per group of runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables import labels
from tiebreak_analysis.tables.cells import method_cell, start_cell
from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.items import PerItem
from tiebreak_analysis.tables.planned import Planned, missing, missing_rows
from tiebreak_analysis.tables.published import Figures, figure
from tiebreak_analysis.tables.table import SHORT, START, Row


@dataclass(frozen=True)
class Material:
    """What the rows of a section are made from, beside its runs."""

    columns: tuple[Column, ...]
    items: PerItem
    planned: tuple[Planned, ...]
    stale: Collection[str]
    figures: Figures
    level: float


@dataclass(frozen=True)
class Block:
    """One scenario's rows, start model first."""

    rows: tuple[Row, ...]
    one_start: bool
    """All runs of a seed began from the same model: two gains differ as the two metrics do."""


def blocks_of(
    records: Sequence[Record],
    scenarios: Sequence[str],
    methods: Sequence[str],
    material: Material,
) -> Iterator[Block]:
    """In the order of `scenarios` and `methods`; those not named there follow by name."""
    inside = _by_block(records)
    told = {block: found[0].scenario for block, found in inside.items()}
    asked = Counter(one.group_id for one in material.planned)
    absent = missing(material.planned, {r.group_id for r in records}, told)
    told |= {block: groups[0].scenario for block, groups in absent.items()}

    def place(block: str) -> tuple[int, list[tuple[float, str]]]:
        return _rank(told[block], scenarios), labels.natural(block)

    for block in sorted(told, key=place):
        found = inside.get(block, [])
        rows = _method_rows(block, found, material)
        taken = [row.label for row in rows]
        rows += missing_rows(block, absent.get(block, []), len(material.columns), taken)
        rows.sort(key=lambda row: (_rank(row.method, methods), labels.natural(row.label)))
        rows = [*_start_row(block, found, material), *rows]
        rows = [_counted(row, asked, material.stale) for row in rows]
        yield Block(tuple(_published(rows, told[block], material)), _one_start(found))


def _by_block(records: Sequence[Record]) -> dict[str, list[Record]]:
    """By scenario; one with several settings is several blocks, labelled by them."""
    shared = labels.shared_settings(records)
    blocks = labels.tell_apart(
        {record.group_id: record.scenario for record in records},
        {group: labels.part(settings, "scenario") for group, settings in shared.items()},
    )
    inside: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        inside[blocks[record.group_id]].append(record)
    return inside


def _rank(name: str | None, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _one_start(records: Sequence[Record]) -> bool:
    models: dict[int, set[str | None]] = defaultdict(set)
    for record in records:
        models[record.seed].add(record.start_model)
    return all(len(found) == 1 for found in models.values())


def _start_row(block: str, records: Sequence[Record], material: Material) -> list[Row]:
    """Each distinct start model counts once, however many runs began from it."""
    first: dict[str, Record] = {}
    by_column: list[dict[str, Record]] = [{} for _ in material.columns]
    for record in records:
        assert record.start_model is not None, "a finished run's record names its start model"
        first.setdefault(record.start_model, record)
        for column, having in zip(material.columns, by_column, strict=True):
            if column.metric in record.start:
                having.setdefault(record.start_model, record)
    if not first:
        return []
    cells = tuple(
        start_cell(list(having.values()), column, material.items, material.level)
        for column, having in zip(material.columns, by_column, strict=True)
    )
    run_ids = tuple(record.run_id for record in records)
    return [Row(block, START, None, None, len(first), run_ids, cells)]


def _method_rows(block: str, records: Sequence[Record], material: Material) -> list[Row]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.group_id].append(record)
    rows = []
    for group, label in _labels(records).items():
        found = groups[group]
        cells = tuple(
            method_cell(found, column, material.items, material.level)
            for column in material.columns
        )
        run_ids = tuple(record.run_id for record in found)
        rows.append(Row(block, label, found[0].method, group, len(run_ids), run_ids, cells))
    return rows


def _labels(records: Sequence[Record]) -> dict[str, str]:
    """Group id -> row label; the group id itself joins where the settings tell nothing apart."""
    settings = labels.shared_settings(records)
    found = labels.tell_apart(
        {record.group_id: record.method for record in records},
        {group: labels.rest(s, "scenario", "model") for group, s in settings.items()},
    )
    taken = Counter(found.values())
    return {
        group: label if taken[label] == 1 else f"{label} [group {group[:SHORT]}]"
        for group, label in found.items()
    }


def _counted(row: Row, asked: Mapping[str, int], stale: Collection[str]) -> Row:
    """With how many runs were asked for, and which of those there are stale."""
    old = tuple(run_id for run_id in row.run_ids if run_id in stale)
    return replace(row, planned=asked.get(row.group_id or "") or None, stale=old)


def _published(rows: Sequence[Row], scenario: str, material: Material) -> list[Row]:
    """With what was published, by row label, or by method where one row alone has it."""
    count = Counter(row.method for row in rows)
    found = []
    for row in rows:
        names = (row.label, row.method) if count[row.method] == 1 else (row.label,)
        keys = [column.key for column in material.columns]
        figures = tuple(figure(material.figures, scenario, names, key) for key in keys)
        found.append(replace(row, published=figures if any(figures) else ()))
    return found
