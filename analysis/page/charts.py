"""The data behind the charts of a page: logs and final numbers.

Thin enough for one file: few points a curve, five digits a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak.metrics import axis_unit
from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.statistics import Interval, mean_interval
from tiebreak_analysis.tables.table import LEVEL, Table

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
MAX_POINTS = 300  # points of a curve
MIN_POINTS = 40
MAX_NUMBERS = 200_000  # in all curves together: about 1.5 MB of JSON
DIGITS = 5
FIRST = ("kl/reference", "gold/reward")  # what the frontier opens with, where measured


def curves(history: pd.DataFrame, groups: Sequence[Group]) -> dict[str, Any]:
    """`history`: run_id, step, one column per metric. Steps are kept, values are never averaged.

    All runs of a group keep the same steps of a metric, so that a mean over seeds can be taken.
    The result: `points` (at most so many per curve), `cut` (whether any curve was longer),
    `steps` (lists that curves point into), `metrics`: name -> group id -> `[steps, run id ->
    values]`, a missing value being None.
    """
    names = [n for n in history.columns if n not in ("run_id", "step") and history[n].notna().any()]
    points = MAX_NUMBERS // max(1, history["run_id"].nunique() * len(names))
    points = int(np.clip(points, MIN_POINTS, MAX_POINTS))
    logs = {str(run): log.set_index("step")[names] for run, log in history.groupby("run_id")}
    steps: dict[tuple[int, ...], int] = {}
    metrics: dict[str, dict[str, Any]] = {name: {} for name in names}
    cut = False
    for group in groups:
        runs = [key for r in group.records if (key := r.key) in logs]
        for of_metrics, x, values in _same_steps([logs[run] for run in runs]):
            cut = cut or len(x) > points
            kept = largest_triangles(x, np.nanmean(values, axis=0), points)
            for at, keep in zip(of_metrics, kept, strict=True):
                place = steps.setdefault(tuple(x[keep].tolist()), len(steps))
                rows = values[:, of_metrics.index(at), keep]
                rounded = [[None if np.isnan(v) else _short(v) for v in row] for row in rows]
                metrics[names[at]][group.group_id] = [place, dict(zip(runs, rounded, strict=True))]
    return {"points": points, "cut": cut, "steps": [list(s) for s in steps], "metrics": metrics}


def _same_steps(logs: Sequence[pd.DataFrame]) -> Iterator[tuple[list[int], Array, Array]]:
    """Metrics (by column) that the runs of a group measured at the same steps (S,), those steps,
    and the values (runs, metrics, S), NaN where a run has none."""
    if not logs:
        return
    every = np.unique(np.concatenate([np.asarray(log.index) for log in logs]))
    values = np.stack([log.reindex(every).to_numpy(dtype=float).T for log in logs])
    values[~np.isfinite(values)] = np.nan
    measured: Array = np.asarray(~np.isnan(values).all(axis=0))
    same: dict[bytes, list[int]] = {}
    for at, row in enumerate(measured):
        if row.any():
            same.setdefault(row.tobytes(), []).append(at)
    for metrics in same.values():
        present = measured[metrics[0]]
        yield metrics, every[present], values[:, metrics][:, :, present]


def largest_triangles(x: Array, y: Array, count: int) -> Array:
    """Which `count` of the points (S,) to draw of each curve (M, S), so that peaks stay visible:
    (M, count), ascending.

    Largest-Triangle-Three-Buckets: first and last point, and of each bucket between them the one
    that spans the largest triangle with the point kept before and the mean of the next bucket.
    Source: Steinarsson (2013), "Downsampling time series for visual representation", 4.2.
    """
    if len(x) <= count:
        return np.tile(np.arange(len(x)), (len(y), 1))
    edges = np.linspace(1, len(x) - 1, count - 1).astype(int)
    rows, kept = np.arange(len(y)), [np.zeros(len(y), dtype=int)]
    for start, end, after in zip(edges, edges[1:], [*edges[2:], len(x)], strict=False):
        x0, y0 = x[kept[-1]][:, None], y[rows, kept[-1]][:, None]  # the point kept before
        x2, y2 = x[end:after].mean(), y[:, end:after].mean(axis=1, keepdims=True)
        area = np.abs((x0 - x2) * (y[:, start:end] - y0) - (x0 - x[start:end]) * (y2 - y0))
        kept.append(start + area.argmax(axis=1))
    return np.stack([*kept, np.full(len(y), len(x) - 1)], axis=1)


def results(groups: Sequence[Group], tables: Sequence[Table]) -> dict[str, Any]:
    """The final numbers of every run, and per group their mean and interval.

    `runs`: run id -> metric -> value; `groups`: group id -> metric -> [mean, low, high], the
    interval of a table that has it, else over seeds; `starts`: group id -> metric -> the start
    model's values (distinct ones); `axes`: the metrics to open with, x then y.
    """
    printed = _printed(tables)
    finished = [(g, [r for r in g.records if r.finished]) for g in groups]
    every = [record for _, records in finished for record in records]
    names = sorted({name for record in every for name in record.metrics})
    axes = [name for name in FIRST if name in names]
    axes += [name for name in reversed(names) if name not in axes]
    intervals: dict[str, dict[str, list[float | None]]] = {}
    starts: dict[str, dict[str, list[float]]] = {}
    for group, records in finished:
        for name in names:
            values = [r.metrics[name] for r in records if name in r.metrics]
            if values:
                interval = printed.get((*group.row, name)) or mean_interval(values, LEVEL)
                intervals.setdefault(group.group_id, {})[name] = ends_of(interval)
            before = {_short(r.start[name]) for r in records if name in r.start}
            if before:
                starts.setdefault(group.group_id, {})[name] = sorted(before)
    return {
        "names": names,
        "units": {name: unit for name in names if (unit := axis_unit(name))},
        "axes": axes[:2] if len(axes) > 1 else axes * 2,
        "runs": {r.key: {name: _short(v) for name, v in r.metrics.items()} for r in every},
        "groups": intervals,
        "starts": starts,
    }


def _printed(tables: Sequence[Table]) -> dict[tuple[str | None, str | None, str], Interval]:
    """(group id, evaluation, metric) -> the interval of the first table that has it."""
    return {
        (row.group_id, section.evaluation, column.metric): cell.interval
        for table in reversed(tables)
        for section in table.sections
        for row in section.rows
        for column, cell in zip(section.columns, row.cells, strict=True)
        if cell is not None and not column.gain
    }


def _short(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")


def ends_of(interval: Interval, digits: int = DIGITS) -> list[float | None]:
    """Mean, low and high end, rounded to so many digits."""
    ends = (interval.mean, interval.low, interval.high)
    return [None if end is None else _short(end, digits) for end in ends]
