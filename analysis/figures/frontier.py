"""What a gain costs: one metric against another, a point per setting, intervals on both axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, NullFormatter

from tiebreak.metrics import axis_label
from tiebreak_analysis.figures.frames import (
    along,
    arms_of,
    labelled,
    looks_of,
    runs_told,
)
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.figures.style import HALO, ONE_COLUMN, drawn, grid, house, legend_below
from tiebreak_analysis.statistics import Interval

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
    frame = labelled(points, setting, x, y)
    with house():
        figure, (axes,) = grid(1, 1, ONE_COLUMN, 3.0)
        every: list[Point] = []
        for label, look in looks_of(frame).items():
            path = _path(frame[frame["label"] == label], setting, x, y, level)
            if not path:
                continue
            every += path
            _draw(axes, path, label, look)
            if names:
                _name_ends(axes, path, look.colour)
        if log_x:
            _log(axes)
        axes.set_xlabel(axis_label(x))
        axes.set_ylabel(axis_label(y))
        title = runs_told([p.y for p in every], level) if every else None
        legend_below(figure, axes, title=title)
    return figure


def _path(rows: pd.DataFrame, setting: str, x: str, y: str, level: float) -> list[Point]:
    """Only runs that have both count, so that a point's two means are of the same runs."""
    both = rows.dropna(subset=[x, y])
    settings, costs = along(both, setting, x, level)
    _, gains = along(both, setting, y, level)
    return [Point(*values) for values in zip(settings, costs, gains, strict=True)]


def _draw(axes: Axes, path: Sequence[Point], label: str, look: Look) -> None:
    axes.errorbar(
        [p.x.mean for p in path], [p.y.mean for p in path], label=label,
        xerr=arms_of([p.x for p in path]), yerr=arms_of([p.y for p in path]),
        elinewidth=0.6, capsize=0, **drawn(look),
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
            fontsize=6, path_effects=HALO,
        )  # fmt: skip
