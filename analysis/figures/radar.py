"""Scores by category as a radar, as papers print them. `dots` says the same and more.

A radar's area depends on the order of the categories, and it has no room for intervals. It is here
to be laid beside a published one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from tiebreak.errors import UserError
from tiebreak_analysis.figures.frames import labelled, looks_of, means, runs_told
from tiebreak_analysis.figures.style import HALO, ONE_COLUMN, drawn, house, legend_below

if TYPE_CHECKING:
    import pandas as pd


def radar(
    scores: pd.DataFrame,
    *,
    category: str = "category",
    value: str = "value",
    top: float | None = None,
    level: float = 0.95,
) -> Figure:
    """A closed line per method; the radius begins at zero, always, and ends at `top`.

    `scores`: as for `dots`. UserError: fewer than three categories, a method without a value in
    one of them (a line would jump over it), a value below zero.
    """
    frame = labelled(scores, category, value)
    names = list(dict.fromkeys(frame[category]))
    found = means(frame, ["label", category], value, level)
    look_of = looks_of(frame)
    _check(names, list(look_of), {key: interval.mean for key, interval in found.items()})
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
        title = runs_told(list(found.values()), level).split(" and ")[0]
        legend_below(figure, axes, title=f"{title}; no intervals: see the dot plot")
    return figure


def _check(names: list[str], labels: list[str], found: dict) -> None:
    if len(names) < 3:
        raise UserError(f"a radar needs three or more categories, not {', '.join(names)}: use dots")
    for label in labels:
        for name in names:
            if (label, name) not in found:
                raise UserError(f"{label} has no value for {name}: leave one out, or use dots")
            if found[label, name] < 0:
                raise UserError(f"{label} is {found[label, name]:g} for {name}: use dots")
