"""Lines with a band over runs: metrics against steps, and log-probs by position in a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.figures.style import (
    ONE_COLUMN,
    TWO_COLUMNS,
    along,
    arms_of,
    drawn,
    grid,
    house,
    labelled,
    legend_below,
    legend_title,
    looks_of,
)  # fmt: skip
from tiebreak_analysis.statistics import MIN_SEEDS, Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_MARKS = 8  # markers on a line: enough to tell lines apart in grey


def curves(
    history: pd.DataFrame,
    metrics: Sequence[str],
    *,
    block: int = 1,
    level: float = 0.95,
    columns: int | None = None,
) -> Figure:
    """One panel per metric. `history`: method, run_id, step, the metrics; optional label.

    Values are first averaged over blocks of `block` steps in each run (one batch is noisy), then
    over runs. Only blocks that every run of a label has are drawn: a mean over fewer runs further
    on would be a jump that no run made. Below three runs each run is a thin line, without a band.
    """
    assert block >= 1
    frame = labelled(history, "run_id", "step", *metrics)
    calm = _blocks(frame, metrics, block)
    columns = columns or (2 if len(metrics) in (2, 4) else 3)
    width = ONE_COLUMN if len(metrics) == 1 else TWO_COLUMNS
    with house():
        figure, panels = grid(len(metrics), columns, width, 2.1 if len(metrics) > 1 else 2.5)
        intervals: list[Interval] = []
        for axes, metric in zip(panels, metrics, strict=True):
            for label, look in looks_of(frame).items():
                rows = _in_every_run(calm[calm["label"] == label].dropna(subset=[metric]))
                if len(rows):
                    intervals += _line(axes, rows, metric, label, look, level)
            _decorate(axes, metric)
        for axes in panels[-columns:]:
            axes.set_xlabel("step" if block == 1 else f"step (means of {block} steps)")
        fullest = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
        title = legend_title(intervals, level).replace("interval", "band") if intervals else None
        legend_below(figure, fullest, title=title)
    return figure


def _blocks(frame: pd.DataFrame, metrics: Sequence[str], block: int) -> pd.DataFrame:
    """Means over blocks of steps, by run; `step` is the middle of the block."""
    first = (frame["step"] - 1) // block * block + 1
    blocked = frame.assign(step=first + (block - 1) / 2)
    by = ["label", "method", "run_id", "step"]
    return blocked.groupby(by, sort=True, as_index=False)[list(metrics)].mean()


def _in_every_run(rows: pd.DataFrame) -> pd.DataFrame:
    reached = rows.groupby("step")["run_id"].nunique()
    return rows[rows["step"].isin(reached[reached == rows["run_id"].nunique()].index)]


def _line(
    axes: Axes, rows: pd.DataFrame, metric: str, label: str, look: Look, level: float
) -> list[Interval]:
    steps, intervals = along(rows, "step", metric, level)
    centres = np.array([interval.mean for interval in intervals])
    axes.plot(
        steps, centres, label=label, color=look.colour, linestyle=look.line,
        marker=look.marker, markevery=max(1, len(steps) // NUM_MARKS),
        markerfacecolor=look.colour if look.filled else "white",
    )  # fmt: skip
    runs = rows["run_id"].nunique()
    if runs >= MIN_SEEDS:
        below, above = arms_of(intervals)
        axes.fill_between(
            steps, centres - below, centres + above, color=look.colour, alpha=0.18, linewidth=0
        )
    elif runs > 1:
        for _, run in rows.groupby("run_id"):
            axes.plot(run["step"], run[metric], color=look.colour, linewidth=0.5, alpha=0.6)
    return intervals


def _decorate(axes: Axes, metric: str) -> None:
    """Title, and a line at zero where the values lie on both sides of it."""
    axes.set_title(axis_label(metric), loc="left")
    low, high = axes.get_ylim()
    if low < 0 < high:
        axes.axhline(0, color="#555555", linewidth=0.6, zorder=1)


def token_profile(
    profiles: pd.DataFrame,
    *,
    value: str = "mean",
    name: str = "log-prob of the chosen (nats/token)",
    level: float = 0.95,
) -> Figure:
    """A line per method, position 0 the first token that differs, with a band over runs.

    `profiles`: per run and position a row: method, run_id, position, `value`; optional label. As
    `analysis.displacement.position_profile` makes them, one run after another.
    """
    frame = labelled(profiles, "position", value)
    with house():
        figure, (axes,) = grid(1, 1, ONE_COLUMN, 2.6)
        every: list[Interval] = []
        for label, look in looks_of(frame).items():
            rows = frame[frame["label"] == label]
            positions, intervals = along(rows, "position", value, level)
            every += intervals
            centres = np.array([interval.mean for interval in intervals])
            below, above = arms_of(intervals)
            axes.fill_between(
                positions, centres - below, centres + above, color=look.colour, alpha=0.18,
                linewidth=0,
            )  # fmt: skip
            axes.plot(positions, centres, label=label, **drawn(look))
        axes.axvline(0, color="#555555", linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        axes.set_xlabel("position, 0: the first token that differs")
        axes.set_title(name, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, axes, title=legend_title(every, level) if every else None)
    return figure
