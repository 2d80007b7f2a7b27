"""One metric against another: what a gain costs, and what a method knows against what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, NullFormatter

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures import style
from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def frontier(
    points: pd.DataFrame,
    x: str = "kl/reference",
    y: str = "gold/reward",
    *,
    setting: str = "beta",
    log_x: bool = False,
    names: bool = True,
) -> Figure:
    """A line per method through its settings in their order, each the mean over runs.

    `points`: one row per run: method, the column `setting` (a number: beta, alpha), x, y; optional
    label. `names` writes the first and the last setting beside the line.
    """
    frame = style.labelled(points, setting, x, y)
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, 3.0)
        every: list[Interval] = []
        for label, look, rows in style.series(frame):
            both = rows.dropna(subset=[x, y])  # so that a point's two means are of the same runs
            settings, costs = style.along(both, setting, x)
            _, gains = style.along(both, setting, y)
            if not settings:
                continue
            every += gains
            style.marks(axes, costs, gains, label, look, elinewidth=0.6)
            if names:
                means = [(at.mean, up.mean) for at, up in zip(costs, gains, strict=True)]
                _name_ends(axes, settings, means, look.colour)
        if log_x:
            _log(axes)
        axes.set(xlabel=axis_label(x), ylabel=axis_label(y))
        style.legend_below(figure, axes, style.legend_title(every))
    return figure


def _log(axes: Axes) -> None:
    """A logarithmic axis with plain numbers: 0.5, 1, 2, 5, 10."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_ends(
    axes: Axes, settings: Sequence[float], means: Sequence[tuple[float, float]], colour: str
) -> None:
    """The settings at both ends, outwards of the line."""
    right = max(range(len(means)), key=lambda at: means[at][0])
    for at in sorted({0, len(means) - 1}):
        side = 1 if at == right else -1
        axes.annotate(
            f"{settings[at]:g}", means[at], (3 * side, 1), color=colour, fontsize=6, va="bottom",
            textcoords="offset points", ha="left" if side > 0 else "right", path_effects=style.HALO,
        )  # fmt: skip


def accuracy(points: pd.DataFrame) -> Figure:
    """A mark per method, means over runs with both intervals; runs as small dots behind it.

    On the diagonal the implicit reward and the model's own likelihood order pairs equally well.
    Below it the reward is learnt and the likelihood, by which the model writes, is not (SimPO,
    arXiv 2405.14734, section 4.3). `points`: one row per run: method, both; optional label.
    """
    x, y = "accuracy/drift", "accuracy/likelihood"
    frame = style.labelled(points, x, y).dropna(subset=[x, y])
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, 3.4)
        _diagonal(axes, frame, x, y)
        every: list[Interval] = []
        for label, look, rows in style.series(frame):
            at, up = (mean_interval(rows[name].tolist()) for name in (x, y))
            every.append(up)
            if len(rows) > 1:
                axes.plot(rows[x], rows[y], ".", markersize=2, color=look.colour, alpha=0.6)
            style.marks(axes, [at], [up], label, look, linestyle="none", elinewidth=0.6)
        axes.set(xlabel=axis_label(x), ylabel=axis_label(y))
        style.legend_below(figure, axes, style.legend_title(every))
    return figure


def _diagonal(axes: Axes, frame: pd.DataFrame, x: str, y: str) -> None:
    """Draw the diagonal, with one range for both axes; equal steps look equal."""
    values = [float(v) for name in (x, y) for v in frame[name]]
    room = 0.1 * (max(values) - min(values)) + 0.01
    low, high = min(values) - room, max(values) + room
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.plot(
        [low, high], [low, high], color=style.GREY, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1
    )
