"""What a group looks like on the page: as in the figures for papers, in the words of plotly.js."""

from __future__ import annotations

from collections.abc import Sequence

from tiebreak_analysis.figures.palette import LINES, MARKERS, START, Look, looks
from tiebreak_analysis.page.groups import Group

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x",
    "triangle-left", "triangle-right", "pentagon", "hexagon",
)  # fmt: skip


def looks_of(groups: Sequence[Group]) -> dict[str, Look]:
    """Row label -> its look; "start model" has one too."""
    return looks({START: START} | {group.label: group.method for group in groups})


def plotly(look: Look) -> dict[str, str]:
    """colour, dash and symbol of plotly.js."""
    symbol = SYMBOLS[MARKERS.index(look.marker)]
    return {
        "colour": look.colour,
        "dash": DASHES[LINES.index(look.line)],
        "symbol": symbol if look.filled else f"{symbol}-open",
    }
