"""The values behind a metric, item by item: from `items/gold.parquet` and `pairs.parquet`.

A run's items are used only when their mean is the metric in its `result.json` and when they are
the same items as those of the other runs; otherwise the run is named, never silently mixed in.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak.metrics import Metric, evaluation_metric
from tiebreak_analysis.records.runs import Record, Runs

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]
FILES = {"generations": "items", "gold": "items", "pairs": "pairs"}
"""Evaluator -> the frame that holds what it measured item by item."""
CLOSE = 1e-9  # a metric and the mean of its items differ by rounding alone


@dataclass(frozen=True)
class Values:
    """One metric of one run, item by item."""

    items: tuple[str, ...]
    after: Array
    """(items,) of the aligned model."""
    before: Array | None
    """(items,) of its start model, where the metric has a meaning there."""


@dataclass(frozen=True)
class PerItem:
    values: Mapping[tuple[str, str], Values]
    """(run id, metric) -> its values."""
    odd: Mapping[str, str]
    """Run id -> why its items are not used, though it has some."""


def per_item(runs: Runs, finished: Sequence[Record], metrics: Iterable[str]) -> PerItem:
    """What the files of these runs hold of these metrics, checked against each run's result."""
    ids = [record.run_id for record in finished]
    wanted = {name: m for name in sorted(set(metrics)) if (m := evaluation_metric(name)).items}
    files = {name: FILES[str(metric.evaluator)] for name, metric in wanted.items()}
    frames = {"items": runs.items, "pairs": runs.pairs}
    tables = {file: _Table.of(frames[file](ids)) for file in sorted(set(files.values()))}
    found: dict[tuple[str, str], Values] = {}
    odd = {one: why for (one, _), why in sorted(runs.damaged.items()) if one in set(ids)}
    for name, metric in wanted.items():
        for record, values in _of_metric(tables[files[name]], metric, finished):
            why = _wrong(record, name, values)
            if why is None:
                found[record.run_id, name] = values
            else:
                odd.setdefault(record.run_id, why)
    odd = {**_out_of_step(found, finished, wanted), **odd}
    kept = {key: values for key, values in found.items() if key[0] not in odd}
    return PerItem(kept, odd)


@dataclass(frozen=True)
class _Table:
    """A tidy frame and where each run's rows lie in it."""

    frame: pd.DataFrame
    rows: Mapping[str, slice]
    codes: np.ndarray[Any, np.dtype[np.int64]]
    """(rows,) each item's id as a number: ten thousand runs share a few hundred ids."""
    names: Sequence[str]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Table:
        import pandas as pd

        runs, run_ids = pd.factorize(frame["run_id"])
        edges = [0, *(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(runs)] if len(runs) else [0]
        assert len(edges) == len(run_ids) + 1, "the rows of a run lie together"
        bounds = zip(run_ids, edges, edges[1:], strict=False)
        codes, names = pd.factorize(frame["id"])
        return cls(frame, {str(r): slice(a, b) for r, a, b in bounds}, codes, list(map(str, names)))

    def values(self, metric: Metric, when: str) -> Array | None:
        """One value per row, NaN where a column is missing; None: no run has the columns."""
        names = metric.item_columns(when)
        if not names or not set(names) <= set(self.frame.columns):
            return None
        columns = [self.frame[name].to_numpy(dtype=float, na_value=np.nan) for name in names]
        gaps = np.isnan(columns).any(axis=0)
        return np.where(gaps, np.nan, metric.formula(*columns))


def _of_metric(
    table: _Table, metric: Metric, finished: Sequence[Record]
) -> Iterator[tuple[Record, Values]]:
    """Rows without a value (unpaired data has one side only) are no items of this metric."""
    name, after, before = metric.name, table.values(metric, "after"), table.values(metric, "before")
    if after is None:
        return
    shared: dict[bytes, tuple[str, ...]] = {}
    for record in finished:
        rows = table.rows.get(record.run_id)
        if rows is None or name not in record.metrics:
            continue
        here = ~np.isnan(after[rows])
        codes = table.codes[rows][here]
        if codes.tobytes() not in shared:
            shared[codes.tobytes()] = tuple(table.names[at] for at in codes)
        items = shared[codes.tobytes()]
        start = None if before is None or name not in record.start else before[rows][here]
        if items:
            yield record, Values(items, after[rows][here], start)


def _wrong(record: Record, metric: str, values: Values) -> str | None:
    told = [(record.metrics[metric], values.after, "")]
    if values.before is not None:
        told.append((record.start[metric], values.before, " of the start model"))
    for number, items, whose in told:
        mean = float(np.mean(items))
        if not math.isclose(mean, number, rel_tol=CLOSE, abs_tol=CLOSE):
            told_as = f"result.json has {metric}{whose} {number:.6g}"
            return f"{told_as}, the mean of its items is {mean:.6g}"
    return None


def _out_of_step(
    found: Mapping[tuple[str, str], Values], finished: Sequence[Record], metrics: Iterable[str]
) -> dict[str, str]:
    """Runs measured on other items than most of those they would be compared with, or on none."""
    odd: dict[str, str] = {}
    for metric in metrics:
        alike: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
        for r in finished:
            if metric in r.metrics:
                alike[r.model, r.data_hash, r.evaluation, r.scenario].append(r.run_id)
        for ids in alike.values():
            counts = Counter(found[one, metric].items for one in ids if (one, metric) in found)
            usual = counts.most_common(1)[0][0] if counts else None
            for one in ids:
                if usual is not None and (one, metric) not in found:
                    odd.setdefault(one, f"it has no items of {metric}")
                elif usual is not None and found[one, metric].items != usual:
                    odd.setdefault(one, f"its items of {metric} are not those of the other runs")
    return odd
