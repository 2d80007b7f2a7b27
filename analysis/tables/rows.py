"""The rows of one section: per scenario its start model, then one row per group of runs.

Runs of a cell are one sample with items only if each of them has the same items for the metric.
Otherwise each run counts as one value, as its `result.json` has it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiebreak_analysis.published import Figures
from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.statistics import Sample, interval, mean_interval
from tiebreak_analysis.tables import labels
from tiebreak_analysis.tables.items import Array, ItemValues, PerItem
from tiebreak_analysis.tables.table import LEVEL, SHORT, START, Cell, Column, Row

SCENARIOS = ("sft-then-align", "align-from-base", "align-from-instruct")
"""The order of scenarios in a table; others follow by name."""


@dataclass(frozen=True)
class Planned:
    """A run that a study asks for, as its config names it; done or not."""

    run_id: str
    group_id: str
    model: str
    data: str
    scenario: str
    method: str
    material: str
    """Model and data with all their settings: `labels.material`."""
    evaluation: str | None = None
    """Id of the evaluation it asks for; None: any."""

    @classmethod
    def of(cls, record: Record) -> Planned:
        """A run that has a record already, whatever became of it."""
        return cls(
            record.run_id, record.group_id, record.model, record.data, record.scenario,
            record.method, labels.material(record.settings), record.evaluation,
        )  # fmt: skip


def scenario_rows(
    records: Sequence[Record], planned: Sequence[Planned], columns: Sequence[Column], items: PerItem
) -> Iterator[tuple[str, list[Row], bool]]:
    """Each scenario, its rows, start model first, and whether all of them share a start.

    They do when all runs of a seed began from the same model: two gains then differ as the two
    metrics do. A scenario with several settings comes several times.
    """
    blocks = labels.told_apart(records, lambda r: r.scenario, lambda top: top == "scenario")
    by_block = grouped(records, lambda record: blocks[record.group_id])
    scenarios = {block: members[0].scenario for block, members in by_block.items()}
    absent = _missing(planned, {record.group_id for record in records}, scenarios)
    scenarios |= {block: groups[0].scenario for block, groups in absent.items()}

    def place(block: str) -> tuple[int, list[tuple[float, str]]]:
        name = scenarios[block]
        rank = SCENARIOS.index(name) if name in SCENARIOS else len(SCENARIOS)
        return rank, labels.natural(block)

    for block in sorted(scenarios, key=place):
        members = by_block.get(block, [])
        rows = _method_rows(block, members, columns, items)
        taken = [row.label for row in rows]
        rows += _missing_rows(block, absent.get(block, []), len(columns), taken)
        rows.sort(key=lambda row: labels.natural(row.label))
        starts = {(record.seed, record.start_key) for record in members}
        one_start = len(starts) == len({seed for seed, _ in starts})
        yield scenarios[block], [*_start_row(block, members, columns, items), *rows], one_start


def grouped(records: Iterable[Record], by: Callable[[Record], str]) -> dict[str, list[Record]]:
    """Key -> the records that have it, both in the order of the records."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[by(record)].append(record)
    return groups


def _start_row(
    block: str, records: Sequence[Record], columns: Sequence[Column], items: PerItem
) -> list[Row]:
    """Each distinct start model counts once, however many runs began from it; a checkpoint that is
    only measured has none."""
    records = [record for record in records if record.trained]
    models = {record.start_key for record in records}
    cells = tuple(_start_cell(records, column, items) for column in columns)
    run_ids = tuple(record.run_id for record in records)
    return [Row(block, START, None, None, len(models), run_ids, cells)] if models else []


def _method_rows(
    block: str, records: Sequence[Record], columns: Sequence[Column], items: PerItem
) -> list[Row]:
    """A row per group; its id joins the label where the settings tell nothing apart."""
    names = labels.told_apart(
        records, lambda r: r.method, lambda top: top not in ("scenario", "model")
    )
    taken, rows = Counter(names.values()), []
    groups = grouped(records, lambda record: record.group_id)
    for group, name in names.items():
        members = groups[group]
        label = name if taken[name] == 1 else f"{name} [group {group[:SHORT]}]"
        cells = tuple(_method_cell(members, column, items) for column in columns)
        run_ids = tuple(record.run_id for record in members)
        rows.append(Row(block, label, members[0].method, group, len(run_ids), run_ids, cells))
    return rows


def _missing(
    planned: Sequence[Planned], done: Collection[str], scenarios: Mapping[str, str]
) -> dict[str, list[Planned]]:
    """Block -> one planned run of each group that is not among the `done` ones.

    `scenarios`: block -> the scenario of its runs. A group goes where its scenario is, or into a
    block of its own where there is none, or several.
    """
    by_block: dict[str, dict[str, Planned]] = defaultdict(dict)
    for run in planned:
        if run.group_id not in done:
            names = [name for name, scenario in scenarios.items() if scenario == run.scenario]
            block = names[0] if len(names) == 1 else run.scenario
            by_block[block].setdefault(run.group_id, run)
    return {block: list(groups.values()) for block, groups in by_block.items()}


def _missing_rows(
    block: str, groups: Sequence[Planned], num_columns: int, taken: Sequence[str]
) -> list[Row]:
    """Rows without a number; by group id too, where another row has the method's name."""
    names = [*(label.split(" ")[0] for label in taken), *(run.method for run in groups)]
    rows = []
    for run in groups:
        alone = names.count(run.method) == 1
        label = run.method if alone else f"{run.method} [group {run.group_id[:SHORT]}]"
        rows.append(Row(block, label, run.method, run.group_id, 0, (), (None,) * num_columns))
    return rows


def completed(
    rows: Sequence[Row],
    scenario: str,
    columns: Sequence[Column],
    planned: Sequence[Planned],
    stale: Collection[str],
    figures: Figures,
) -> list[Row]:
    """The rows with how many runs were asked for, which of theirs are stale, and what was
    published, by row label, or by method where one row alone has it."""
    asked = Counter(run.group_id for run in planned)
    count = Counter(row.method for row in rows)
    done = []
    for row in rows:
        old = tuple(run_id for run_id in row.run_ids if run_id in stale)
        names = (row.label, row.method) if count[row.method] == 1 else (row.label,)
        places = [(where, name or "") for name in names for where in (scenario, None)]
        beside = tuple(
            next((figures[*place, c.key] for place in places if (*place, c.key) in figures), None)
            for c in columns
        )  # the scenario's own before that of any
        num_asked = asked.get(row.group_id or "") or None
        published = beside if any(beside) else ()
        done.append(replace(row, planned=num_asked, stale=old, published=published))
    return done


def _method_cell(records: Sequence[Record], column: Column, items: PerItem) -> Cell | None:
    """One value per run of a method, one run per seed. None: no run has the metric."""
    having = [record for record in records if column.value(record) is not None]

    def by_item(measured: ItemValues) -> Array | None:
        if not column.gain:
            return measured.after
        return None if measured.before is None else measured.after - measured.before

    seeds, values = [r.seed for r in having], [column.value(r) for r in having]
    cell = _cell(having, column, seeds, values, items, by_item)
    return cell if all(record.trained for record in having) else _over_items(cell)


def _start_cell(records: Sequence[Record], column: Column, items: PerItem) -> Cell | None:
    """One value per start model. One alone is fixed: its interval is over the items."""
    if column.gain:
        return None
    having: dict[tuple[str | None, ...], Record] = {}
    for record in records:
        assert record.start_model is not None, "a finished run's record names its start model"
        if column.metric in record.start:
            having.setdefault(record.start_key, record)
    first = list(having.values())
    seeds = [record.seed for record in first]
    if len(set(seeds)) < len(seeds):  # two start models of one seed: a note under the table says so
        seeds = list(range(len(seeds)))
    values = [record.start[column.metric] for record in first]
    return _over_items(_cell(first, column, seeds, values, items, lambda measured: measured.before))


def _over_items(cell: Cell | None) -> Cell | None:
    """A model that nobody trains again, alone: its interval is over the items."""
    if cell is None or cell.num_seeds > 1 or cell.num_items < 2:
        return cell
    over_items = mean_interval(cell.sample.values[0], LEVEL)
    return replace(cell, interval=replace(over_items, n=1))  # n counts models


def _cell(
    records: Sequence[Record],
    column: Column,
    seeds: Sequence[int],
    values: Sequence[float | None],
    items: PerItem,
    by_item: Callable[[ItemValues], Array | None],
) -> Cell | None:
    """The interval over these runs, item by item where each has the same items. None: no runs."""
    if not records:
        return None
    measured = [items.get((record.run_id, column.metric)) for record in records]
    known = [one for one in measured if one is not None]
    each = [own for one in known if (own := by_item(one)) is not None]
    if len(each) == len(records) and len({one.items for one in known}) == 1:
        sample = Sample(tuple(seeds), known[0].items, np.stack(each))
    else:
        sample = Sample(tuple(seeds), (), np.array(values, dtype=float))
    return Cell(interval(sample, LEVEL), tuple(record.run_id for record in records), sample)
