"""Lines over runs: metrics against steps and training pairs, log-probs against positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures import style
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.statistics import MIN_SEEDS, Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_MARKS = 8  # markers on a line: enough to tell lines apart in grey
ROOM = 0.14  # of the axis, from one number to the next
ASIDE = 1.03  # methods stand beside one another, 3 % apart, or one bar would hide the next


def curves(history: pd.DataFrame, metrics: Sequence[str], *, block: int = 1) -> Figure:
    """One panel per metric. `history`: method, run_id, step, the metrics; optional label.

    Values are first averaged over blocks of `block` steps in each run (one batch is noisy), then
    over runs. Only blocks that every run of a label has are drawn: a mean over fewer runs further
    on would be a jump that no run made. Below three runs each run is a thin line, without a band.
    """
    assert block >= 1
    frame = style.labelled(history, "run_id", "step", *metrics)
    calm = _blocks(frame, metrics, block)
    columns = 2 if len(metrics) in (2, 4) else 3
    width = style.ONE_COLUMN if len(metrics) == 1 else style.TWO_COLUMNS
    with style.house():
        figure, panels = style.grid(len(metrics), columns, width, 2.1 if len(metrics) > 1 else 2.5)
        intervals: list[Interval] = []
        for axes, metric in zip(panels, metrics, strict=True):
            for label, look, measured in style.series(calm):
                rows = _in_every_run(measured.dropna(subset=[metric]))
                if len(rows):
                    intervals += _line(axes, rows, metric, label, look)
            axes.set_title(axis_label(metric), loc="left")
            low, high = axes.get_ylim()
            if low < 0 < high:
                axes.axhline(0, color="#555555", linewidth=0.6, zorder=1)
        for axes in panels[-columns:]:
            axes.set_xlabel("step" if block == 1 else f"step (means of {block} steps)")
        fullest = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
        style.legend_below(figure, fullest, style.legend_title(intervals, "band"))
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


def _line(axes: Axes, rows: pd.DataFrame, metric: str, label: str, look: Look) -> list[Interval]:
    steps, intervals = style.along(rows, "step", metric)
    means, every = [i.mean for i in intervals], max(1, len(steps) // NUM_MARKS)
    axes.plot(steps, means, label=label, markevery=every, **style.drawn(look))
    runs = rows["run_id"].nunique()
    if runs >= MIN_SEEDS:
        _band(axes, steps, intervals, look)
    elif runs > 1:
        for _, run in rows.groupby("run_id"):
            axes.plot(run["step"], run[metric], color=look.colour, linewidth=0.5, alpha=0.6)
    return intervals


def _band(axes: Axes, places: Sequence[float], intervals: Sequence[Interval], look: Look) -> None:
    means, (below, above) = np.array([i.mean for i in intervals]), style.arms_of(intervals)
    axes.fill_between(
        places, means - below, means + above, color=look.colour, alpha=0.18, linewidth=0
    )


def token_profile(
    profiles: pd.DataFrame, *, name: str = "log-prob of the chosen (nats/token)"
) -> Figure:
    """A line per method, position 0 the first token that differs, with a band over runs.

    `profiles`: per run and position a row: method, run_id, position, mean; optional label. As
    `analysis.displacement.position_profile` makes them, one run after another.
    """
    frame = style.labelled(profiles, "position", "mean")
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, 2.6)
        every: list[Interval] = []
        for label, look, rows in style.series(frame):
            positions, intervals = style.along(rows, "position", "mean")
            every += intervals
            _band(axes, positions, intervals, look)
            axes.plot(positions, [i.mean for i in intervals], label=label, **style.drawn(look))
        axes.axvline(0, color="#555555", linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        axes.set_xlabel("position, 0: the first token that differs")
        axes.set_title(name, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.legend_below(figure, axes, style.legend_title(every))
    return figure


def data_size(
    points: pd.DataFrame, metric: str = "gold/reward", *, start: Interval | None = None
) -> Figure:
    """A line per method over a logarithmic number of pairs; ticks at the sizes that were run.

    `points`: one row per run: method, rows (training pairs, 1 or more), the metric; optional label.
    `start`: the start model, drawn as a level line (nothing was trained there).
    """
    frame = style.labelled(points, "rows", metric)
    sizes = sorted({int(size) for size in frame["rows"]})
    assert sizes[0] >= 1, "zero pairs have no place on a logarithmic axis: give them as `start`"
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, 2.7)
        every: list[Interval] = []
        lines = style.series(frame)
        for number, (label, look, of_label) in enumerate(lines):
            at, intervals = style.along(of_label, "rows", metric)
            if not at:
                continue
            every += intervals
            aside = ASIDE ** (number - (len(lines) - 1) / 2)
            places = [size * aside for size in at]
            style.marks(axes, places, intervals, label, look, elinewidth=0.8, capsize=2)
        if start is not None:
            axes.axhline(
                start.mean, color="black", linewidth=0.8, linestyle=(0, (2, 2)), label="start model"
            )
            if start.low is not None and start.high is not None:
                axes.axhspan(start.low, start.high, color="black", alpha=0.07, linewidth=0)
        _ticks(axes, sizes)
        axes.set(xlabel="training pairs (log scale)", ylabel=axis_label(metric))
        style.legend_below(figure, axes, style.legend_title(every))
    return figure


def _ticks(axes: Axes, sizes: list[int]) -> None:
    """At the sizes themselves; one too near its neighbour for its number has a bare tick."""
    axes.set_xscale("log")
    span = math.log(sizes[-1] / sizes[0]) or 1.0
    numbered: list[int] = []
    for size in reversed(sizes):
        if not numbered or math.log(numbered[-1] / size) >= ROOM * span:
            numbered.append(size)
    numbered.reverse()
    axes.set_xticks(numbered, [f"{size:,}" for size in numbered])
    axes.set_xticks([size for size in sizes if size not in numbered], [], minor=True)
