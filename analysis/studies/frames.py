"""Tidy frames for a study's figures: one row per finished run, or per run and step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd

Label = Callable[[Record], str]


def points(
    records: Sequence[Record],
    metrics: Sequence[str],
    settings: Mapping[str, str] | None = None,
    label: Label | None = None,
) -> pd.DataFrame:
    """`method`, `run_id`, `seed`, the metrics, and settings: column -> dotted key; with a `label`
    where one is given. Runs that lack one of them have no row."""
    import pandas as pd

    wanted = settings or {}
    names = ["method", "run_id", "seed", *wanted, *metrics, *(["label"] if label else [])]
    rows = [
        (
            *(record.method, record.run_id, record.seed),
            *(record.settings.get(key) for key in wanted.values()),
            *(record.metrics.get(metric) for metric in metrics),
            *([label(record)] if label else []),
        )
        for record in records
    ]
    return pd.DataFrame(rows, columns=pd.Index(names)).dropna()


def history(runs: Runs, records: Sequence[Record], label: Label | None = None) -> pd.DataFrame:
    """Every step of these runs, with `method`, and a `label` where one is given."""
    frame = runs.history([record.run_id for record in records])
    told = {"method": {record.run_id: record.method for record in records}}
    if label:
        told["label"] = {record.run_id: label(record) for record in records}
    return frame.assign(**{name: frame["run_id"].map(values) for name, values in told.items()})


def start_of(records: Sequence[Record], metric: str) -> Interval | None:
    """Of the start models: each distinct one counts once."""
    found = {r.start_model: r.start[metric] for r in records if metric in r.start}
    return mean_interval(list(found.values())) if found else None


def melted(records: Sequence[Record], metrics: Sequence[str]) -> pd.DataFrame:
    """`method`, `category` (the metric's last word), `value`: a row per run and metric."""
    import pandas as pd

    rows = [
        (record.method, metric.split("/")[-1], record.metrics[metric])
        for metric in metrics
        for record in records
        if metric in record.metrics
    ]
    return pd.DataFrame(rows, columns=pd.Index(["method", "category", "value"]))
