"""The values behind a metric, item by item: from `items/gold.parquet` and `pairs.parquet`.

A run's items are used only when their mean is the metric in its `result.json` and when they are
the same items as those of the other runs; otherwise the run is named, never silently mixed in.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak_analysis.records.runs import Record, Runs

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]
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


@dataclass(frozen=True)
class Formula:
    """How a metric is made for one item: `make` of these columns of this file."""

    file: str
    columns: tuple[str, ...]
    make: Callable[..., Array]


def _itself(value: Array) -> Array:
    return value


def _above(chosen: Array, rejected: Array) -> Array:
    """1 where chosen is higher, 0.5 for a tie: as the evaluation counts it."""
    return np.where(chosen == rejected, 0.5, (chosen > rejected).astype(float))


def _above_per_token(chosen: Array, rejected: Array, long: Array, short: Array) -> Array:
    return _above(chosen / long, rejected / short)


def _below_zero(drift: Array) -> Array:
    return (drift < 0).astype(float)


AFTER_ONLY = {
    "win_rate/start": Formula("items", ("win",), _itself),
    "drift/chosen": Formula("pairs", ("drift/chosen",), _itself),
    "drift/rejected": Formula("pairs", ("drift/rejected",), _itself),
    "displaced/share": Formula("pairs", ("drift/chosen",), _below_zero),
    "accuracy/drift": Formula("pairs", ("drift/chosen", "drift/rejected"), _above),
}


def formula(metric: str, when: str) -> Formula | None:
    """`when`: "after", or "before" for the start model. None: no file has it item by item."""
    logp = (f"logp/chosen/{when}", f"logp/rejected/{when}")
    if metric.startswith("gold/"):
        return Formula("items", (f"{metric.removeprefix('gold/')}/{when}",), _itself)
    if metric == "length/generated":
        return Formula("items", (f"tokens/{when}",), _itself)
    if metric == "accuracy/likelihood":
        return Formula("pairs", logp, _above)
    if metric == "accuracy/likelihood_per_token":
        return Formula("pairs", (*logp, "length/chosen", "length/rejected"), _above_per_token)
    return AFTER_ONLY.get(metric) if when == "after" else None


def per_item(runs: Runs, finished: Sequence[Record], metrics: Iterable[str]) -> PerItem:
    """What the files of these runs hold of these metrics, checked against each run's result."""
    ids = [record.run_id for record in finished]
    wanted = {name: f for name in sorted(set(metrics)) if (f := formula(name, "after")) is not None}
    frames = {"items": runs.items, "pairs": runs.pairs}
    tables = {
        file: _Table.of(frames[file](ids)) for file in sorted({f.file for f in wanted.values()})
    }
    found: dict[tuple[str, str], Values] = {}
    odd = {one: why for (one, _), why in sorted(runs.damaged.items()) if one in set(ids)}
    for name, after in wanted.items():
        for record, values in _of_metric(tables[after.file], name, finished):
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

    def values(self, formula: Formula | None) -> Array | None:
        """One value per row, NaN where a column is missing; None: no run has the columns."""
        if formula is None or not set(formula.columns) <= set(self.frame.columns):
            return None
        columns = [self.frame[name].to_numpy(dtype=float, na_value=np.nan)
                   for name in formula.columns]  # fmt: skip
        gaps = np.isnan(columns).any(axis=0)
        return np.where(gaps, np.nan, formula.make(*columns))


def _of_metric(
    table: _Table, metric: str, finished: Sequence[Record]
) -> Iterator[tuple[Record, Values]]:
    """Rows without a value (unpaired data has one side only) are no items of this metric."""
    after = table.values(formula(metric, "after"))
    before = table.values(formula(metric, "before"))
    if after is None:
        return
    shared: dict[bytes, tuple[str, ...]] = {}
    for record in finished:
        rows = table.rows.get(record.run_id)
        if rows is None or metric not in record.metrics:
            continue
        here = ~np.isnan(after[rows])
        codes = table.codes[rows][here]
        if codes.tobytes() not in shared:
            shared[codes.tobytes()] = tuple(table.names[at] for at in codes)
        items = shared[codes.tobytes()]
        start = None if before is None or metric not in record.start else before[rows][here]
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
