"""One metric against another: what a gain costs, and what a method knows against what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, NullFormatter

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures import style
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    setting: float
    x: Interval
    y: Interval


def frontier(
    points: pd.DataFrame,
    x: str = "kl/reference",
    y: str = "gold/reward",
    *,
    setting: str = "beta",
    log_x: bool = False,
    names: bool = True,
    level: float = 0.95,
) -> Figure:
    """A line per method through its settings in their order, each the mean over runs.

    `points`: one row per run: method, the column `setting` (a number: beta, alpha), x, y; optional
    label. `names` writes the first and the last setting beside the line.
    """
    frame = style.labelled(points, setting, x, y)
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, 3.0)
        every: list[Point] = []
        for label, look, rows in style.series(frame):
            path = _path(rows, setting, x, y, level)
            if not path:
                continue
            every += path
            _draw(axes, path, label, look)
            if names:
                _name_ends(axes, path, look.colour)
        if log_x:
            _log(axes)
        axes.set(xlabel=axis_label(x), ylabel=axis_label(y))
        style.legend_below(figure, axes, style.legend_title([p.y for p in every], level))
    return figure


def _path(rows: pd.DataFrame, setting: str, x: str, y: str, level: float) -> list[Point]:
    """Only runs that have both count, so that a point's two means are of the same runs."""
    both = rows.dropna(subset=[x, y])
    settings, costs = style.along(both, setting, x, level)
    _, gains = style.along(both, setting, y, level)
    return [Point(*values) for values in zip(settings, costs, gains, strict=True)]


def _draw(axes: Axes, path: Sequence[Point], label: str, look: Look) -> None:
    axes.errorbar(
        [p.x.mean for p in path], [p.y.mean for p in path], label=label,
        xerr=style.arms_of([p.x for p in path]), yerr=style.arms_of([p.y for p in path]),
        elinewidth=0.6, capsize=0, **style.drawn(look),
    )  # fmt: skip


def _log(axes: Axes) -> None:
    """A logarithmic axis with plain numbers: 0.5, 1, 2, 5, 10."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_ends(axes: Axes, path: Sequence[Point], colour: str) -> None:
    """The settings at both ends, outwards of the line."""
    right = max(path, key=lambda point: point.x.mean)
    for point in dict.fromkeys((path[0], path[-1])):
        side = 1 if point is right else -1
        axes.annotate(
            f"{point.setting:g}", (point.x.mean, point.y.mean), (3 * side, 1), color=colour,
            textcoords="offset points", ha="left" if side > 0 else "right", va="bottom",
            fontsize=6, path_effects=style.HALO,
        )  # fmt: skip


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
    frame = style.labelled(points, x, y).dropna(subset=[x, y])
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, 3.4)
        _diagonal(axes, frame, x, y)
        every: list[Interval] = []
        for label, look, rows in style.series(frame):
            at, up = (mean_interval([float(v) for v in rows[name]], level) for name in (x, y))
            every.append(up)
            if len(rows) > 1:
                axes.plot(rows[x], rows[y], ".", markersize=2, color=look.colour, alpha=0.6)
            axes.errorbar(
                [at.mean], [up.mean], xerr=style.arms_of([at]), yerr=style.arms_of([up]),
                label=label, elinewidth=0.6, **style.drawn(replace(look, line="none")),
            )  # fmt: skip
        axes.set(xlabel=axis_label(x), ylabel=axis_label(y))
        style.legend_below(figure, axes, style.legend_title(every, level))
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
