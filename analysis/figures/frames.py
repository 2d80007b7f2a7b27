"""From one row per run to means and intervals over runs, and what axes are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tiebreak.errors import UserError
from tiebreak_analysis.figures.palette import Look, looks
from tiebreak_analysis.statistics import MIN_SEEDS, Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd


def labelled(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with a `label` (the method's name unless there is one); `columns` must be there."""
    missing = [name for name in ("method", *columns) if name not in frame]
    if missing:
        raise UserError(f"no column {', '.join(missing)} to draw; there are: {', '.join(frame)}")
    if frame.empty:
        raise UserError(f"nothing to draw: no run has {', '.join(columns)}")
    return frame if "label" in frame else frame.assign(label=frame["method"])


def looks_of(frame: pd.DataFrame) -> dict[str, Look]:
    """Label -> look, in the order of the legend."""
    return looks(dict(zip(frame["label"], frame["method"], strict=True)))


def means(
    frame: pd.DataFrame, by: Sequence[str], column: str, level: float
) -> dict[tuple[str, ...], Interval]:
    """The mean of `column` over the rows (one per run) of each group, and its interval.

    Rows without a value are left out; a group without values is absent.
    """
    known = frame.dropna(subset=[*by, column])
    values: dict[tuple[str, ...], list[float]] = {}
    for *key, value in known[[*by, column]].itertuples(index=False):
        values.setdefault(tuple(map(str, key)), []).append(float(value))
    return {key: mean_interval(values[key], level) for key in sorted(values)}


def along(
    rows: pd.DataFrame, axis: str, column: str, level: float
) -> tuple[list[float], list[Interval]]:
    """The values of the number `axis`, ascending, and the mean of `column` over runs at each."""
    values: dict[float, list[float]] = {}
    for place, value in rows[[axis, column]].dropna().itertuples(index=False):
        values.setdefault(float(place), []).append(float(value))
    places = sorted(values)
    return places, [mean_interval(values[place], level) for place in places]


def arms(interval: Interval) -> tuple[float, float]:
    """Lengths of the error bar below and above; zero where there is no interval to draw."""
    if interval.n < MIN_SEEDS or interval.low is None or interval.high is None:
        return 0.0, 0.0
    return interval.mean - interval.low, interval.high - interval.mean


def arms_of(intervals: Sequence[Interval]) -> np.ndarray:
    """As `errorbar` takes them: (2, points), below and above."""
    return np.array([arms(interval) for interval in intervals]).T


def runs_told(intervals: Sequence[Interval], level: float) -> str:
    """The title of a legend: what the marks and the bars are."""
    counts = [interval.n for interval in intervals]
    low, high = min(counts), max(counts)
    many = str(low) if low == high else f"{low} to {high}"
    if high < MIN_SEEDS:
        return f"mean of {many} run{'' if high == 1 else 's'}; too few for intervals"
    return f"mean and {100 * level:g} % interval over {many} runs"
