"""What a reader sees of a figure's text: where each piece lies once it is laid out."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

TOUCH = 0.5  # pixels two boxes may share


def pieces(figure: Figure) -> list[tuple[str, Bbox, float]]:
    """(text, box in pixels, size in points) of all that is drawn."""
    FigureCanvasAgg(figure).draw()
    hidden = set(_out_of_view(figure))
    return [
        (text.get_text(), text.get_window_extent(), text.get_fontsize())
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip()
        and text not in hidden
    ]  # fmt: skip


def collisions(figure: Figure) -> list[str]:
    """Texts that overlap, and texts that leave the figure."""
    found, edge = pieces(figure), figure.bbox
    wrong = []
    for at, (words, box, _) in enumerate(found):
        if (
            box.x0 < edge.x0 - 1
            or box.y0 < edge.y0 - 1
            or box.x1 > edge.x1 + 1
            or box.y1 > edge.y1 + 1
        ):
            wrong.append(f"{words!r} leaves the figure")
        for other, beside, _ in found[at + 1 :]:
            width = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            height = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            if width > TOUCH and height > TOUCH:
                wrong.append(f"{words!r} over {other!r}")
    return wrong


def _out_of_view(figure: Figure) -> Iterator[Text]:
    """Tick labels beyond the ends of their axis: they exist and are not drawn."""
    for axis in figure.findobj(Axis):
        assert isinstance(axis, Axis)
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high or not tick.get_visible():
                yield from (tick.label1, tick.label2)
