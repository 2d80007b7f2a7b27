"""Scores by category: as dots with intervals on one scale, and as a radar."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from tiebreak.errors import UserError
from tiebreak_analysis.figures.style import (
    HALO,
    ONE_COLUMN,
    arms_of,
    drawn,
    grid,
    house,
    labelled,
    legend_below,
    legend_title,
    looks_of,
    means,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

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
        legend_below(figure, axes, title=legend_title(list(found.values()), level))
    return figure


def radar(
    scores: pd.DataFrame,
    *,
    category: str = "category",
    value: str = "value",
    top: float | None = None,
    level: float = 0.95,
) -> Figure:
    """A closed line per method, as papers print scores, from zero to `top`; `dots` says more.

    A radar's area depends on the order of the categories, and it has no room for intervals: it is
    there to be laid beside a published one. `scores`: as for `dots`. UserError: fewer than three
    categories, a method without a value in one of them (a line would jump over it), a negative one.
    """
    frame = labelled(scores, category, value)
    names = list(dict.fromkeys(frame[category]))
    found = means(frame, ["label", category], value, level)
    look_of = looks_of(frame)
    _check_radar(names, list(look_of), {key: interval.mean for key, interval in found.items()})
    angles = [2 * math.pi * at / len(names) for at in range(len(names))]
    with house():
        figure = Figure(figsize=(ONE_COLUMN, 3.7))
        axes = figure.add_subplot(projection="polar")
        assert isinstance(axes, PolarAxes)
        axes.set_theta_offset(math.pi / 2)
        axes.set_theta_direction(-1)
        for label, look in look_of.items():
            radii = [found[label, name].mean for name in names]
            axes.plot([*angles, angles[0]], [*radii, radii[0]], label=label, **drawn(look))
        axes.set_rlim(0, top or 1.05 * max(interval.mean for interval in found.values()))
        axes.set_thetagrids([math.degrees(angle) for angle in angles], names)
        axes.set_rlabel_position(180 / len(names))
        axes.tick_params(axis="x", pad=4)
        for tick in axes.get_yticklabels():
            tick.set(fontsize=6, color="#555555", path_effects=HALO)
        axes.spines["polar"].set(linewidth=0.5, color="#BBBBBB")
        title = legend_title(list(found.values()), level).split(" and ")[0]
        legend_below(figure, axes, title=f"{title}; no intervals: see the dot plot")
    return figure


def _check_radar(names: list[str], labels: list[str], found: dict) -> None:
    if len(names) < 3:
        raise UserError(f"a radar needs three or more categories, not {', '.join(names)}: use dots")
    for label in labels:
        for name in names:
            if (label, name) not in found:
                raise UserError(f"{label} has no value for {name}: leave one out, or use dots")
            if found[label, name] < 0:
                raise UserError(f"{label} is {found[label, name]:g} for {name}: use dots")
