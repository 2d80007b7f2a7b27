"""Displacement by bucket: bars per method, with intervals, and buckets that nothing fell into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from tiebreak.metrics import PANEL, axis_label
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.figures.style import (
    GREY,
    HALO,
    ONE_COLUMN,
    TWO_COLUMNS,
    arms_of,
    drawn,
    grid,
    house,
    labelled,
    legend_below,
    looks_of,
)  # fmt: skip
from tiebreak_analysis.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {"edit_distance": "edit distance", "length": "tokens of chosen", "group": "group"}
GROUP_WIDTH = 0.8  # of the room between two buckets


def displaced(
    buckets: pd.DataFrame, *, measures: Sequence[str] = ("displaced",), by: str = "edit_distance"
) -> Figure:
    """A panel per measure: a bar per method in each bucket, with the count of pairs under it.

    `buckets`: `analysis.displacement.tidy(panels)`. Shares are drawn from 0 to 100 %. The marker
    on a bar is the method's, so that bars can be told apart in grey.
    """
    frame = labelled(buckets, "by", "bucket", "measure", "mean", "low", "high", "n")
    frame = frame[frame["by"] == by]
    width = ONE_COLUMN if len(measures) == 1 else TWO_COLUMNS
    with house():
        figure, panels = grid(len(measures), 2, width, 2.3)
        for axes, measure in zip(panels, measures, strict=True):
            rows = frame[frame["measure"] == measure]
            look_of = looks_of(rows)
            for at, (label, look) in enumerate(look_of.items()):
                _bars(axes, rows[rows["label"] == label], label, look, at, len(look_of))
            _buckets(axes, rows, AXES[by])
            _scale(axes, measure)
        over = " and ".join(sorted(set(frame["over"])))
        title = f"mean and 95 % interval over {over}; none under three"
        legend_below(figure, panels[0], title=title)
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
    axes.errorbar(
        places, known["mean"], yerr=arms_of(intervals), label=label, elinewidth=0.8, markersize=3,
        **drawn(replace(look, line="none")),
    )  # fmt: skip


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
                order, 0.5, "no pairs", rotation=90, ha="center", va="center", color=GREY,
                fontsize=6, path_effects=HALO, transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    axes.set_xticks(ticks["order"], texts, fontsize=6)
    axes.set_xlim(-0.6, len(texts) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_xlabel(f"{name} (below it: number of pairs)")


def _scale(axes: Axes, measure: str) -> None:
    if measure == "displaced":
        axes.set_ylim(-0.03, 1.05)  # room for the marks of 0 and 100 %
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.axhline(0, color="#555555", linewidth=0.6)
    axes.set_title(axis_label(PANEL[measure]), loc="left")
