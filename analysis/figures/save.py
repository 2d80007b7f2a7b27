"""Write a figure: the format by the suffix, the same figure as the same bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tiebreak.errors import UserError
from tiebreak_analysis.figures.style import house

# No date, no version: what is in the file is the figure alone.
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
}


def save(figure: Figure, path: Path) -> None:
    """As PDF, PNG (300 dots per inch) or SVG. Folders above `path` are made.

    Nothing is cropped: the width is that of the figure, so 8 pt stay 8 pt on paper.
    """
    metadata = METADATA.get(path.suffix.lower())
    if metadata is None:
        raise UserError(f"no figure format {path.suffix!r} ({path.name}): use .pdf, .png or .svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    with house():
        figure.savefig(path, metadata=metadata)
