"""The house style of figures: widths, type, lines, means with error bars, legends, and files.

A `Figure` is made without pyplot, from a tidy frame with a row per run, and saved so that the same
figure is the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tiebreak.errors import UserError
from tiebreak_analysis.figures.palette import Look, looks
from tiebreak_analysis.statistics import MIN_SEEDS, Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.8  # inches, of a two-column paper
HALO = [withStroke(linewidth=1.5, foreground="white")]  # keeps a number readable on a line
LETTER, KEY = 0.058, 0.45  # inches: a letter in a legend, and what stands before the first
POINTS = 8  # of text; nothing is scaled afterwards, so this is what is printed
GREY = "#8A8A8A"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), POINTS),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), POINTS - 1),
    **dict.fromkeys(("legend.fontsize", "legend.title_fontsize"), POINTS - 1),
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # real letters; journals refuse Type 3 fonts
    "svg.hashsalt": "tiebreak",
    "figure.constrained_layout.use": True,
}
# No date, no version: what is in the file is the figure alone.
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
}


def house() -> AbstractContextManager[None]:
    """The house style, over matplotlib's defaults: a user's own matplotlibrc changes nothing."""
    return style.context(["default", RC])


def grid(
    num_panels: int, columns: int, width: float, panel_height: float
) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes, `columns` in a row. Call it inside `house()`."""
    columns = min(columns, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(figsize=(width, panel_height * rows))
    every = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in every[num_panels:]:
        unused.remove()
    return figure, every[:num_panels]


def drawn(look: Look) -> dict[str, Any]:
    """A look as keyword arguments of `plot` and `errorbar`."""
    face = look.colour if look.filled else "white"
    edges = {"markerfacecolor": face, "markeredgecolor": look.colour}
    return {"color": look.colour, "marker": look.marker, "linestyle": look.line} | edges


def legend_below(figure: Figure, axes: Axes, title: str) -> None:
    """One legend for the whole figure, below the axes, so that it hides nothing.

    Methods first; what stands for no method (drawn without error bars) after them.
    """
    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    entries.sort(key=lambda entry: not isinstance(entry[0], ErrorbarContainer))
    if entries:
        handles, labels = [list(column) for column in zip(*entries, strict=True)]
        room = KEY + LETTER * max(map(len, labels))
        columns = max(1, int(figure.get_figwidth() / room))
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(columns, len(handles)),
            title=title or None, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip


def labelled(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with a `label` (the method's name unless there is one); `columns` must be there."""
    missing = [name for name in ("method", *columns) if name not in frame]
    if missing:
        raise UserError(f"no column {', '.join(missing)} to draw; there are: {', '.join(frame)}")
    if frame.empty:
        raise UserError(f"nothing to draw: no run has {', '.join(columns)}")
    return frame if "label" in frame else frame.assign(label=frame["method"])


def series(frame: pd.DataFrame) -> list[tuple[str, Look, pd.DataFrame]]:
    """Label, look and rows of everything to draw, in the order of the legend."""
    look_of = looks(dict(zip(frame["label"], frame["method"], strict=True)))
    return [(label, look, frame[frame["label"] == label]) for label, look in look_of.items()]


def along(rows: pd.DataFrame, axis: str, column: str) -> tuple[list[float], list[Interval]]:
    """The values of the number `axis`, ascending, and the mean of `column` over runs at each."""
    values: dict[float, list[float]] = {}
    for place, value in rows[[axis, column]].dropna().itertuples(index=False):
        values.setdefault(float(place), []).append(float(value))
    places = sorted(values)
    return places, [mean_interval(values[place]) for place in places]


Places = Sequence[float] | Sequence[Interval]


def marks(axes: Axes, x: Places, y: Places, label: str, look: Look, **how: Any) -> None:
    """Marks with a line, at numbers or at means; a mean has its interval as an error bar."""
    (across, of_x), (up, of_y) = _places_and_arms(x), _places_and_arms(y)
    axes.errorbar(across, up, xerr=of_x, yerr=of_y, label=label, **drawn(look) | how)


def _places_and_arms(values: Places) -> tuple[list[float], np.ndarray | None]:
    intervals = [value for value in values if isinstance(value, Interval)]
    means = [value.mean if isinstance(value, Interval) else value for value in values]
    return means, arms_of(intervals) if intervals else None


def arms_of(intervals: Sequence[Interval]) -> np.ndarray:
    """Lengths of error bars below and above, (2, points); zero where there is no interval."""
    arms = [
        (0.0, 0.0) if i.n < MIN_SEEDS or i.low is None or i.high is None
        else (i.mean - i.low, i.high - i.mean)
        for i in intervals
    ]  # fmt: skip
    return np.array(arms).T


def legend_title(intervals: Sequence[Interval], drawn: str = "interval") -> str:
    """The title of a legend: what the marks and the bars are; empty where nothing is drawn."""
    if not intervals:
        return ""
    counts = [interval.n for interval in intervals]
    low, high = min(counts), max(counts)
    many = str(low) if low == high else f"{low} to {high}"
    if high < MIN_SEEDS:
        return f"mean of {many} run{'' if high == 1 else 's'}; too few for {drawn}s"
    return f"mean and 95 % {drawn} over {many} runs"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PDF, PNG (300 dots per inch) or SVG; folders above `path` are made.

    Nothing is cropped: the width is that of the figure, so 8 pt stay 8 pt on paper.
    """
    metadata = METADATA.get(path.suffix.lower())
    if metadata is None:
        raise UserError(f"no figure format {path.suffix!r} ({path.name}): use .pdf, .png or .svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    with house():
        figure.savefig(path, metadata=metadata)
