"""The column `average`: the mean over benchmarks of each one's mean, where all rows have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiebreak.metrics import Direction, benchmark_metric, reported
from tiebreak_analysis.questions import average
from tiebreak_analysis.statistics import interval, mean_interval
from tiebreak_analysis.tables.table import LEVEL, Cell, Column, Row

AVERAGE = Column("average", unit="%", scale=100.0, decimals=1, direction=Direction.UP)
Block = tuple[str, list[Row], bool]
"""A scenario, its rows, and whether all of them share a start."""


def with_average(
    blocks: Sequence[Block], columns: Sequence[Column]
) -> tuple[list[Block], tuple[Column, ...], tuple[str, ...]]:
    """The blocks with one more cell in each row, the columns with `average` last, and the metrics
    it is of: one per benchmark, of its columns that every run of every row has the one that is
    `reported`. With fewer than two such benchmarks nothing is added."""
    rows = [row for _, block, _ in blocks for row in block if not row.missing]
    places = _benchmarks(rows, columns)
    if len(places) < 2:
        return list(blocks), tuple(columns), ()
    names = tuple(columns[at].metric for at in places)
    grown = [
        (scenario, [_grown(row, places, names) for row in block], one_start)
        for scenario, block, one_start in blocks
    ]
    return grown, (*columns, AVERAGE), names


def _benchmarks(rows: Sequence[Row], columns: Sequence[Column]) -> list[int]:
    by_task: dict[str, dict[str, int]] = {}
    for at, column in enumerate(columns):
        known = None if column.gain else benchmark_metric(column.metric)
        cells = [(row, row.cells[at]) for row in rows]
        if known and all(cell is not None and cell.num_seeds == row.n for row, cell in cells):
            by_task.setdefault(str(known.evaluator), {})[column.metric] = at
    return [places[name] for task, places in by_task.items()
            if (name := reported(task, list(places))) is not None]  # fmt: skip


def _grown(row: Row, places: Sequence[int], names: Sequence[str]) -> Row:
    cells = [cell for at in places if (cell := row.cells[at]) is not None]
    if row.missing:
        return replace(row, cells=(*row.cells, None))
    assert len(cells) == len(places), "every run of every row has them"
    sample = average([(name, cell.sample) for name, cell in zip(names, cells, strict=True)])
    found = interval(sample, LEVEL)
    fixed = row.method is None or not row.trained  # a start model, or a checkpoint
    if fixed and row.n == 1 and len(sample.items) > 1:
        found = replace(mean_interval(sample.values[0], LEVEL), n=1)
    return replace(row, cells=(*row.cells, Cell(found, cells[0].run_ids, sample)))
