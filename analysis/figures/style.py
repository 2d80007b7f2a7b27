"""The look of a page: widths, type, lines; and how a `Figure` is made without pyplot."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tiebreak_analysis.figures.palette import Look

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.8  # inches, of a two-column paper
HALO = [withStroke(linewidth=1.5, foreground="white")]  # keeps a number readable on a line
LETTER, KEY = 0.058, 0.45  # inches: a letter in a legend, and what stands before the first
POINTS = 8  # of text; nothing is scaled afterwards, so this is what is printed
GREY = "#8A8A8A"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS - 1,
    "ytick.labelsize": POINTS - 1,
    "legend.fontsize": POINTS - 1,
    "legend.title_fontsize": POINTS - 1,
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


def house() -> AbstractContextManager[None]:
    """The house style, over matplotlib's defaults: a user's own matplotlibrc changes nothing."""
    return style.context(["default", RC])


def grid(
    num_panels: int, columns: int, width: float, panel_height: float, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with so many axes, `columns` in a row. Call it inside `house()`."""
    columns = min(columns, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(figsize=(width, panel_height * rows))
    every = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for unused in every[num_panels:]:
        unused.remove()
    return figure, every[:num_panels]


def drawn(look: Look) -> dict[str, Any]:
    """A look as keyword arguments of `plot` and `errorbar`."""
    face = look.colour if look.filled else "white"
    return {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.line,
        "markerfacecolor": face,
        "markeredgecolor": look.colour,
    }


def legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
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
            title=title, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip
