"""How much data is enough: a metric against the number of training pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures.style import (
    ONE_COLUMN,
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
from tiebreak_analysis.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 0.14  # of the axis, from one number to the next
ASIDE = 1.03  # methods stand beside one another, 3 % apart, or one bar would hide the next


def data_size(
    points: pd.DataFrame,
    metric: str = "gold/reward",
    *,
    rows: str = "rows",
    start: Interval | None = None,
    level: float = 0.95,
) -> Figure:
    """A line per method over a logarithmic number of pairs; ticks at the sizes that were run.

    `points`: one row per run: method, the column `rows` (training pairs, 1 or more), the metric;
    optional label. `start`: the start model, drawn as a level line (nothing was trained there).
    """
    frame = labelled(points, rows, metric)
    sizes = sorted({int(size) for size in frame[rows]})
    assert sizes[0] >= 1, "zero pairs have no place on a logarithmic axis: give them as `start`"
    with house():
        figure, (axes,) = grid(1, 1, ONE_COLUMN, 2.7)
        every: list[Interval] = []
        look_of = looks_of(frame)
        for number, (label, look) in enumerate(look_of.items()):
            at, intervals = along(frame[frame["label"] == label], rows, metric, level)
            if not at:
                continue
            every += intervals
            aside = ASIDE ** (number - (len(look_of) - 1) / 2)
            axes.errorbar(
                [size * aside for size in at], [i.mean for i in intervals],
                yerr=arms_of(intervals), label=label, elinewidth=0.8, capsize=2, **drawn(look),
            )  # fmt: skip
        if start is not None:
            _start_line(axes, start)
        _ticks(axes, sizes)
        axes.set_xlabel("training pairs (log scale)")
        axes.set_ylabel(axis_label(metric))
        legend_below(figure, axes, title=legend_title(every, level) if every else None)
    return figure


def _start_line(axes: Axes, start: Interval) -> None:
    axes.axhline(
        start.mean, color="black", linewidth=0.8, linestyle=(0, (2, 2)), label="start model"
    )
    if start.low is not None and start.high is not None:
        axes.axhspan(start.low, start.high, color="black", alpha=0.07, linewidth=0)


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
