"""The logs of all runs, thin enough for one page: few points a curve, five digits a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from tiebreak_analysis.page.groups import Group

Array = np.ndarray[Any, np.dtype[Any]]
MOST = 300  # points of a curve
LEAST = 40
BUDGET = 200_000  # numbers in all curves together: about 1.5 MB of JSON
DIGITS = 5


def curves(history: pd.DataFrame, groups: Sequence[Group]) -> dict[str, Any]:
    """`history`: run_id, step, one column per metric. Steps are kept, values are never averaged.

    All runs of a group keep the same steps of a metric, so that a mean over seeds can be taken.
    The result: `points` (at most so many per curve), `cut` (whether any curve was longer),
    `steps` (lists that curves point into), `metrics`: name -> group id -> `[steps, run id ->
    values]`, a missing value being None.
    """
    names = [n for n in history.columns if n not in ("run_id", "step") and history[n].notna().any()]
    points = BUDGET // max(1, history["run_id"].nunique() * len(names))
    points = int(np.clip(points, LEAST, MOST))
    logs = {str(run): log.set_index("step")[names] for run, log in history.groupby("run_id")}
    steps: dict[tuple[int, ...], int] = {}
    metrics: dict[str, dict[str, Any]] = {name: {} for name in names}
    cut = False
    for group in groups:
        runs = [r.run_id for r in group.records if r.run_id in logs]
        for of_metrics, x, values in _alike([logs[run] for run in runs]):
            cut = cut or len(x) > points
            kept = largest_triangles(x, _mean(values), points)
            for at, keep in zip(of_metrics, kept, strict=True):
                place = steps.setdefault(tuple(x[keep].tolist()), len(steps))
                rows = values[:, of_metrics.index(at), keep]
                told = {run: _rounded(row) for run, row in zip(runs, rows, strict=True)}
                metrics[names[at]][group.group_id] = [place, told]
    return {"points": points, "cut": cut, "steps": [list(s) for s in steps], "metrics": metrics}


def _alike(logs: Sequence[pd.DataFrame]) -> Iterator[tuple[list[int], Array, Array]]:
    """Of the runs of one group: metrics (by column) that were measured at the same steps (S,),
    those steps, and the values (runs, metrics, S), NaN where a run has none."""
    if not logs:
        return
    every = np.unique(np.concatenate([np.asarray(log.index) for log in logs]))
    values = np.stack([log.reindex(every).to_numpy(dtype=float).T for log in logs])
    measured: Array = np.asarray(np.isfinite(values).any(axis=0))
    same: dict[bytes, list[int]] = {}
    for at, row in enumerate(measured):
        if row.any():
            same.setdefault(row.tobytes(), []).append(at)
    for metrics in same.values():
        there = measured[metrics[0]]
        yield metrics, every[there], values[:, metrics][:, :, there]


def _mean(values: Array) -> Array:
    """(metrics, S): mean over the runs that have a value; each step has one or more."""
    there = np.isfinite(values)
    return np.where(there, values, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


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


def _rounded(values: Array) -> list[float | None]:
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values]
