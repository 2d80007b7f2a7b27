"""Log-probs by position around the first token in which chosen and rejected differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from tiebreak_analysis.figures.frames import along, arms_of, labelled, looks_of, runs_told
from tiebreak_analysis.figures.style import ONE_COLUMN, drawn, grid, house, legend_below
from tiebreak_analysis.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def token_profile(
    profiles: pd.DataFrame,
    *,
    value: str = "mean",
    name: str = "log-prob of the chosen (nats/token)",
    level: float = 0.95,
) -> Figure:
    """A line per method, position 0 the first token that differs, with a band over runs.

    `profiles`: per run and position a row: method, run_id, position, `value`; optional label. As
    `analysis.displacement.position_profile` makes them, one run after another.
    """
    frame = labelled(profiles, "position", value)
    with house():
        figure, (axes,) = grid(1, 1, ONE_COLUMN, 2.6)
        every: list[Interval] = []
        for label, look in looks_of(frame).items():
            rows = frame[frame["label"] == label]
            positions, intervals = along(rows, "position", value, level)
            every += intervals
            centres = np.array([interval.mean for interval in intervals])
            below, above = arms_of(intervals)
            axes.fill_between(
                positions, centres - below, centres + above, color=look.colour, alpha=0.18,
                linewidth=0,
            )  # fmt: skip
            axes.plot(positions, centres, label=label, **drawn(look))
        axes.axvline(0, color="#555555", linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        axes.set_xlabel("position, 0: the first token that differs")
        axes.set_title(name, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, axes, title=runs_told(every, level) if every else None)
    return figure
