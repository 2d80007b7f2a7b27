"""The values behind a metric, item by item, from what the evaluators of each run left.

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

from tiebreak.metrics import Metric, benchmark_metric, evaluation_metric
from tiebreak_analysis.questions import MIN_SUBJECTS, by_subject
from tiebreak_analysis.records.runs import Record, Runs

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]
OF_SUBJECT = "subject "  # how the items of a benchmark with many subjects are called
CLOSE = 1e-9  # a metric and the mean of its items differ by rounding alone


@dataclass(frozen=True)
class ItemValues:
    """One metric of one run, item by item."""

    items: tuple[str, ...]
    after: Array
    """(items,) of the aligned model."""
    before: Array | None
    """(items,) of its start model, where the metric has a meaning there."""


PerItem = Mapping[tuple[str, str], ItemValues]
"""(run id, metric) -> its values, for the runs of one section."""


def per_item(
    runs: Runs,
    records: Sequence[Record],
    metrics: Iterable[str],
    frames: Mapping[str, pd.DataFrame] | None = None,
) -> tuple[PerItem, dict[str, str]]:
    """The items of these metrics for the runs of one section, checked against their results; and
    run id -> why its items are not used, though it has some. frames: items of evaluators that are
    known already."""
    known = [evaluation_metric(name) for name in sorted(set(metrics))]
    known = [metric for metric in known if metric.items]
    run_ids = {record.key: record.run_id for record in records}
    keys = list(run_ids)
    tables = {
        name: _ItemTable.of(
            frames[name]
            if frames and name in frames
            else runs.pairs(keys)
            if name == "pairs"
            else runs.items(keys, name)
        )
        for name in sorted({str(metric.evaluator) for metric in known})
    }
    odd = {run_ids[key]: why for (key, _), why in sorted(runs.damaged.items()) if key in run_ids}
    values: dict[tuple[str, str], ItemValues] = {}
    for metric in known:
        for record, measured in _of_metric(tables[str(metric.evaluator)], metric, records):
            why = _disagreement(record, metric, measured)
            if why is None:
                subjects = tables[str(metric.evaluator)].subjects(record.key)
                values[record.run_id, metric.name] = _clustered(metric, measured, subjects)
            else:
                odd.setdefault(record.run_id, why)
    values |= _in_common(values, records, known)
    values = {at: one for at, one in values.items() if one.items}
    odd = {**_other_items(values, records, known), **odd}
    return {key: items for key, items in values.items() if key[0] not in odd}, odd


@dataclass(frozen=True)
class _ItemTable:
    """A tidy frame and where each run's rows lie in it."""

    frame: pd.DataFrame
    rows: Mapping[str, slice]
    codes: np.ndarray[Any, np.dtype[np.int64]]
    """(rows,) each item's id as a number: ten thousand runs share a few hundred ids."""
    names: Sequence[str]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _ItemTable:
        import pandas as pd

        runs, run_ids = pd.factorize(frame["run_id"])
        edges = [0, *(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(runs)] if len(runs) else [0]
        assert len(edges) == len(run_ids) + 1, "the rows of a run lie together"
        bounds = zip(run_ids, edges, edges[1:], strict=False)
        codes, names = pd.factorize(frame["id"])
        return cls(frame, {str(r): slice(a, b) for r, a, b in bounds}, codes, list(map(str, names)))

    def subjects(self, key: str) -> Sequence[str]:
        """The subject of each row of a run; empty where its questions have none."""
        if "subject" not in self.frame.columns:
            return ()
        found = self.frame["subject"].iloc[self.rows[key]]
        return () if found.isna().any() else found.astype(str).tolist()

    def values(self, metric: Metric, when: str) -> Array | None:
        """One value per row, NaN where a column is missing; None: no run has the columns."""
        names = metric.item_columns(when)
        if not names or not set(names) <= set(self.frame.columns):
            return None
        columns = [self.frame[name].to_numpy(dtype=float, na_value=np.nan) for name in names]
        gaps = np.isnan(columns).any(axis=0)
        return np.where(gaps, np.nan, metric.formula(*columns))


def _clustered(metric: Metric, measured: ItemValues, subjects: Sequence[str]) -> ItemValues:
    """A benchmark of many subjects as one value per subject: questions of one subject go together.
    Unchanged where it has few subjects, or a question without an answer."""
    names = sorted(set(subjects))
    if len(names) < MIN_SUBJECTS or len(subjects) != len(measured.items):
        return measured
    if benchmark_metric(metric.name) is None:
        return measured
    place = {name: at for at, name in enumerate(names)}
    codes = np.array([place[name] for name in subjects])
    before = None if measured.before is None else by_subject(measured.before, codes)
    items = tuple(OF_SUBJECT + name for name in names)
    return ItemValues(items, by_subject(measured.after, codes), before)


def _of_metric(
    table: _ItemTable, metric: Metric, records: Sequence[Record]
) -> Iterator[tuple[Record, ItemValues]]:
    """Rows without a value (unpaired data has one side only) are no items of this metric. Where a
    metric may have gaps, the other side's value of such a row is kept, and the gap is NaN."""
    name, after, before = metric.name, table.values(metric, "after"), table.values(metric, "before")
    if after is None:
        return
    shared: dict[bytes, tuple[str, ...]] = {}
    for record in records:
        rows = table.rows.get(record.key)
        if rows is None or name not in record.metrics:
            continue
        present = ~np.isnan(after[rows])
        if metric.gaps and before is not None:
            present |= ~np.isnan(before[rows])
        codes = table.codes[rows][present]
        if codes.tobytes() not in shared:
            shared[codes.tobytes()] = tuple(table.names[code] for code in codes)
        items = shared[codes.tobytes()]
        start = None if before is None or name not in record.start else before[rows][present]
        if items:
            yield record, ItemValues(items, after[rows][present], start)


def _in_common(
    values: PerItem, records: Sequence[Record], metrics: Iterable[Metric]
) -> dict[tuple[str, str], ItemValues]:
    """Of metrics that may have gaps, each run's items without those that another run of its
    scenario, or its start model, has no value of."""
    kept: dict[tuple[str, str], ItemValues] = {}
    for name in (metric.name for metric in metrics if metric.gaps):
        by_scenario: dict[str, list[str]] = defaultdict(list)
        for record in records:
            if (record.run_id, name) in values:
                by_scenario[record.scenario].append(record.run_id)
        for ids in by_scenario.values():
            whole = [_whole(values[run, name]) for run in ids]
            shared = set(whole[0]).intersection(*whole[1:])
            for run in ids:
                of = values[run, name]
                places = [at for at, item in enumerate(of.items) if item in shared]
                before = None if of.before is None else of.before[places]
                items = tuple(of.items[at] for at in places)
                kept[run, name] = ItemValues(items, of.after[places], before)
    return kept


def _whole(values: ItemValues) -> list[str]:
    """The items with a value on each side."""
    there = ~np.isnan(values.after)
    if values.before is not None:
        there &= ~np.isnan(values.before)
    return [item for item, whole in zip(values.items, there, strict=True) if whole]


def _disagreement(record: Record, metric: Metric, values: ItemValues) -> str | None:
    """In what the mean of a run's items is not the metric of its result; None: they agree."""
    name = metric.name
    checks = [(record.metrics[name], values.after, "")]
    if values.before is not None:
        checks.append((record.start[name], values.before, " of the start model"))
    for number, items, whose in checks:
        mean = float(np.mean(items[~np.isnan(items)] if metric.gaps else items))
        if not math.isclose(mean, number, rel_tol=CLOSE, abs_tol=CLOSE):
            result = f"result.json has {name}{whose} {number:.6g}"
            return f"{result}, the mean of its items is {mean:.6g}"
    return None


def _other_items(
    values: PerItem, records: Sequence[Record], metrics: Iterable[Metric]
) -> dict[str, str]:
    """Runs measured on other items than most of those they would be compared with, or on none."""
    odd: dict[str, str] = {}
    for name in (metric.name for metric in metrics):
        by_scenario: dict[str, list[str]] = defaultdict(list)
        for record in records:
            if name in record.metrics:
                by_scenario[record.scenario].append(record.run_id)
        for ids in by_scenario.values():
            counts = Counter(values[run, name].items for run in ids if (run, name) in values)
            if not counts:
                continue
            usual = counts.most_common(1)[0][0]
            for run_id in ids:
                if (run_id, name) not in values:
                    odd.setdefault(run_id, f"it has no items of {name}")
                elif values[run_id, name].items != usual:
                    odd.setdefault(run_id, f"its items of {name} are not those of the other runs")
    return odd
