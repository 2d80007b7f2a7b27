"""Reward accuracy against likelihood ranking: methods that know better than they say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures.frames import arms_of, labelled, looks_of, runs_told
from tiebreak_analysis.figures.style import GREY, ONE_COLUMN, drawn, grid, house, legend_below
from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy(
    points: pd.DataFrame,
    x: str = "accuracy/drift",
    y: str = "accuracy/likelihood",
    *,
    level: float = 0.95,
) -> Figure:
    """A mark per method, means over runs with both intervals; runs as small dots behind it.

    On the diagonal the implicit reward and the model's own likelihood order pairs equally well.
    Below it the reward is learnt and the likelihood, by which the model writes, is not (SimPO,
    arXiv 2405.14734, section 4.3). `points`: one row per run: method, x, y; optional label.
    """
    frame = labelled(points, x, y).dropna(subset=[x, y])
    with house():
        figure, (axes,) = grid(1, 1, ONE_COLUMN, 3.4)
        _diagonal(axes, frame, x, y)
        every: list[Interval] = []
        for label, look in looks_of(frame).items():
            rows = frame[frame["label"] == label]
            at, up = (mean_interval([float(v) for v in rows[name]], level) for name in (x, y))
            every.append(up)
            if len(rows) > 1:
                axes.plot(
                    rows[x], rows[y], linestyle="none", marker=".", markersize=2,
                    color=look.colour, alpha=0.6,
                )  # fmt: skip
            axes.errorbar(
                [at.mean], [up.mean], xerr=arms_of([at]), yerr=arms_of([up]), label=label,
                elinewidth=0.6, **drawn(replace(look, line="none")),
            )  # fmt: skip
        axes.set_xlabel(axis_label(x))
        axes.set_ylabel(axis_label(y))
        legend_below(figure, axes, title=runs_told(every, level))
    return figure


def _diagonal(axes: Axes, frame: pd.DataFrame, x: str, y: str) -> None:
    """The same range on both axes, round the runs; equal steps look equal."""
    values = [float(v) for name in (x, y) for v in frame[name]]
    room = 0.1 * (max(values) - min(values)) + 0.01
    low, high = min(values) - room, max(values) + room
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
