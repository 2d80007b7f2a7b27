"""Scores by category as dots with intervals: what a radar shows, on one honest scale."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tiebreak_analysis.figures.frames import arms_of, labelled, looks_of, means, runs_told
from tiebreak_analysis.figures.style import ONE_COLUMN, drawn, grid, house, legend_below

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ROW = 0.11  # inches for each method in a category


def dots(
    scores: pd.DataFrame,
    *,
    category: str = "category",
    value: str = "value",
    unit: str = "score",
    level: float = 0.95,
) -> Figure:
    """A row of dots per category, one per method, on one axis that need not begin at zero.

    `scores`: one row per run and category: method, category, value; optional label. Categories
    keep the order of their first appearance.
    """
    frame = labelled(scores, category, value)
    names = list(dict.fromkeys(frame[category]))
    look_of = looks_of(frame)
    height = 0.9 + len(names) * max(0.22, ROW * (len(look_of) + 1))
    with house():
        figure, (axes,) = grid(1, 1, ONE_COLUMN, height)
        found = means(frame, ["label", category], value, level)
        for at, (label, look) in enumerate(look_of.items()):
            here = {name: found[label, name] for name in names if (label, name) in found}
            shift = (at - (len(look_of) - 1) / 2) / (len(look_of) + 1)
            intervals = list(here.values())
            axes.errorbar(
                [i.mean for i in intervals], [names.index(name) + shift for name in here],
                xerr=arms_of(intervals) if intervals else None, label=label, elinewidth=0.8,
                **drawn(replace(look, line="none")),
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(False, axis="y")
        for between in range(1, len(names)):
            axes.axhline(between - 0.5, color="#E4E4E4", linewidth=0.5, zorder=0)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        legend_below(figure, axes, title=runs_told(list(found.values()), level))
    return figure
