"""One cell: the sample behind it, over runs and (where the runs kept them) items, and its interval.

Runs of a cell are one sample with items only if each of them has the same items for this metric.
Otherwise each run counts as one value, as its `result.json` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.statistics import Interval, Sample
from tiebreak_analysis.statistics.crossed import interval, item_interval
from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.items import Array, PerItem
from tiebreak_analysis.tables.table import Cell


def method_cell(
    records: Sequence[Record], column: Column, items: PerItem, level: float
) -> Cell | None:
    """Of a method's runs, one per seed. None when no run has the metric."""
    told = [(record, column.value(record)) for record in records]
    have = [(record, value) for record, value in told if value is not None]
    if not have:
        return None
    seeds = [record.seed for record, _ in have]
    per_run = [_per_item(record, column, items) for record, _ in have]
    sample = _sample(seeds, [value for _, value in have], per_run)
    return Cell(interval(sample, level), tuple(record.run_id for record, _ in have), sample)


def start_cell(
    records: Sequence[Record], column: Column, items: PerItem, level: float
) -> Cell | None:
    """Of start models, one record of each. One alone is fixed: its interval is over the items."""
    have = [(record, record.start[column.metric]) for record in records
            if column.metric in record.start and not column.gain]  # fmt: skip
    if not have:
        return None
    seeds = [record.seed for record, _ in have]
    if len(set(seeds)) < len(seeds):  # two start models of one seed: a note under the table says so
        seeds = list(range(len(have)))
    per_run = [_of_start(record, column, items) for record, _ in have]
    sample = _sample(seeds, [value for _, value in have], per_run)
    return Cell(_of_models(sample, level), tuple(record.run_id for record, _ in have), sample)


def _of_models(sample: Sample, level: float) -> Interval:
    """`n` counts models, also where only items give the interval."""
    if len(sample.seeds) == 1 and len(sample.items) > 1:
        return replace(item_interval(sample.values[0], level), n=1)
    return interval(sample, level)


def _sample(
    seeds: Sequence[int],
    values: Sequence[float],
    per_run: Sequence[tuple[tuple[str, ...], Array] | None],
) -> Sample:
    found = [one for one in per_run if one is not None]
    if len(found) == len(seeds) and len({names for names, _ in found}) == 1:
        return Sample(tuple(seeds), found[0][0], np.stack([items for _, items in found]))
    return Sample(tuple(seeds), (), np.array(values, dtype=float))


def _per_item(
    record: Record, column: Column, items: PerItem
) -> tuple[tuple[str, ...], Array] | None:
    found = items.values.get((record.run_id, column.metric))
    if found is None or (column.gain and found.before is None):
        return None
    if not column.gain:
        return found.items, found.after
    assert found.before is not None
    return found.items, found.after - found.before


def _of_start(
    record: Record, column: Column, items: PerItem
) -> tuple[tuple[str, ...], Array] | None:
    found = items.values.get((record.run_id, column.metric))
    return None if found is None or found.before is None else (found.items, found.before)
