"""Figures by category: displacement in each bucket, scores as dots on one scale and as a radar."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import PercentFormatter

from tiebreak.errors import UserError
from tiebreak.metrics import PANEL, axis_label
from tiebreak_analysis.figures import style
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

AXES = {"edit_distance": "edit distance", "length": "tokens of chosen", "group": "group"}
MARKS_ONLY = {"linestyle": "none", "elinewidth": 0.8}
GROUP_WIDTH = 0.8  # of the room between two buckets
ROW = 0.11  # inches for each method in a category


def displaced(
    buckets: pd.DataFrame, *, measures: Sequence[str] = ("displaced",), by: str = "edit_distance"
) -> Figure:
    """A panel per measure: a bar per method in each bucket, with the count of pairs under it.

    `buckets`: `analysis.displacement.tidy(panels)`. Shares are drawn from 0 to 100 %. The marker
    on a bar is the method's, so that bars can be told apart in grey.
    """
    frame = style.labelled(buckets, "by", "bucket", "measure", "mean", "low", "high", "n")
    frame = frame[frame["by"] == by]
    width = style.ONE_COLUMN if len(measures) == 1 else style.TWO_COLUMNS
    with style.house():
        figure, panels = style.grid(len(measures), 2, width, 2.3)
        for axes, measure in zip(panels, measures, strict=True):
            rows = frame[frame["measure"] == measure]
            lines = style.series(rows)
            for at, (label, look, of_label) in enumerate(lines):
                _bars(axes, of_label, label, look, at, len(lines))
            _buckets(axes, rows, AXES[by])
            if measure == "displaced":
                axes.set_ylim(-0.03, 1.05)  # room for the marks of 0 and 100 %
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            axes.axhline(0, color="#555555", linewidth=0.6)
            axes.set_title(axis_label(PANEL[measure]), loc="left")
        over = " and ".join(sorted(set(frame["over"])))
        title = f"mean and 95 % interval over {over}; none under three"
        style.legend_below(figure, panels[0], title)
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, label: str, look: Look, at: int, num_labels: int) -> None:
    known = rows.dropna(subset=["mean"])
    if known.empty:
        return
    width = GROUP_WIDTH / num_labels
    places = known["order"] + (at - (num_labels - 1) / 2) * width
    intervals = [
        Interval(row.mean, None if row.low != row.low else row.low, row.high, int(row.n))
        for row in known[["mean", "low", "high", "n"]].itertuples(index=False, name="Row")
    ]
    axes.bar(
        places, known["mean"], 0.86 * width, color=look.colour, alpha=0.35, edgecolor=look.colour,
        linewidth=0.6,
    )  # fmt: skip
    style.marks(axes, places, intervals, label, look, **MARKS_ONLY, markersize=3)


def _buckets(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    """Ticks with the count; where there are no pairs, that in words instead of an empty place."""
    ticks = rows.drop_duplicates("order").sort_values("order")
    texts = []
    for order, bucket in zip(ticks["order"], ticks["bucket"], strict=True):
        counts = rows[rows["order"] == order]["num_chosen"]
        low, high = int(counts.min()), int(counts.max())
        texts.append(f"{bucket.replace(' to ', '–')}\n{low if low == high else f'{low}-{high}'}")
        if high == 0:
            axes.text(
                order, 0.5, "no pairs", rotation=90, ha="center", va="center", color=style.GREY,
                fontsize=6, path_effects=style.HALO, transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    axes.set_xticks(ticks["order"], texts, fontsize=6)
    axes.set_xlim(-0.6, len(texts) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_xlabel(f"{name} (below it: number of pairs)")


def dots(scores: pd.DataFrame, *, unit: str = "score") -> Figure:
    """A row of dots per category, one per method, on one axis that need not begin at zero.

    `scores`: one row per run and category: method, category, value; optional label. Categories
    keep the order of their first appearance.
    """
    frame = style.labelled(scores, "category", "value")
    names = list(dict.fromkeys(frame["category"]))
    lines, found = style.series(frame), _means(frame)
    height = 0.9 + len(names) * max(0.22, ROW * (len(lines) + 1))
    with style.house():
        figure, (axes,) = style.grid(1, 1, style.ONE_COLUMN, height)
        for at, (label, look, _) in enumerate(lines):
            here = {name: found[label, name] for name in names if (label, name) in found}
            shift = (at - (len(lines) - 1) / 2) / (len(lines) + 1)
            places = [names.index(name) + shift for name in here]
            style.marks(axes, list(here.values()), places, label, look, **MARKS_ONLY)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(False, axis="y")
        for between in range(1, len(names)):
            axes.axhline(between - 0.5, color="#E4E4E4", linewidth=0.5, zorder=0)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        style.legend_below(figure, axes, style.legend_title(list(found.values())))
    return figure


def _means(frame: pd.DataFrame) -> Mapping[Hashable, Interval]:
    """(label, category) -> the mean over runs; rows without a value are left out."""
    known = frame.dropna(subset=["category", "value"]).groupby(["label", "category"])["value"]
    return {key: mean_interval(values.tolist()) for key, values in known}


def radar(scores: pd.DataFrame) -> Figure:
    """A closed line per method, as papers print scores, from zero outwards; `dots` says more.

    A radar's area depends on the order of the categories, and it has no room for intervals: it is
    there to be laid beside a published one. `scores`: as for `dots`. UserError: fewer than three
    categories, a method without a value in one of them (a line would jump over it), a negative one.
    """
    frame = style.labelled(scores, "category", "value")
    names = list(dict.fromkeys(frame["category"]))
    lines, found = style.series(frame), _means(frame)
    _check_radar(names, [line[0] for line in lines], found)
    angles = [2 * math.pi * at / len(names) for at in range(len(names))]
    with style.house():
        figure = Figure(figsize=(style.ONE_COLUMN, 3.7))
        axes = figure.add_subplot(projection="polar")
        assert isinstance(axes, PolarAxes)
        axes.set_theta_offset(math.pi / 2)
        axes.set_theta_direction(-1)
        for label, look, _ in lines:
            radii = [found[label, name].mean for name in names]
            axes.plot([*angles, angles[0]], [*radii, radii[0]], label=label, **style.drawn(look))
        axes.set_rlim(0, 1.05 * max(interval.mean for interval in found.values()))
        axes.set_thetagrids([math.degrees(angle) for angle in angles], names)
        axes.set_rlabel_position(180 / len(names))
        axes.tick_params(axis="x", pad=4)
        for tick in axes.get_yticklabels():
            tick.set(fontsize=6, color="#555555", path_effects=style.HALO)
        axes.spines["polar"].set(linewidth=0.5, color="#BBBBBB")
        title = style.legend_title(list(found.values())).split(" and ")[0]
        style.legend_below(figure, axes, f"{title}; no intervals: see the dot plot")
    return figure


def _check_radar(names: list[str], labels: list[str], found: Mapping[Hashable, Interval]):
    if len(names) < 3:
        raise UserError(f"a radar needs three or more categories, not {', '.join(names)}: use dots")
    for label in labels:
        for name in names:
            if (label, name) not in found:
                raise UserError(f"{label} has no value for {name}: leave one out, or use dots")
            if (mean := found[label, name].mean) < 0:
                raise UserError(f"{label} is {mean:g} for {name}: use dots")
