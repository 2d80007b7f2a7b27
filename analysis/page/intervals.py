"""A mean and its interval as a small drawing, on one scale for all rows that are compared."""

from __future__ import annotations

from collections.abc import Sequence

from tiebreak_analysis.page.markup import Markup, tag
from tiebreak_analysis.statistics import Interval

WIDTH, HEIGHT, EDGE = 116, 16, 6  # CSS pixels


def scale_of(intervals: Sequence[Interval]) -> tuple[float, float]:
    """From the lowest to the highest end; but one wide interval must not flatten the others, so
    no further than one range of the means beyond them."""
    means = [i.mean for i in intervals] or [0.0]
    reach = (max(means) - min(means)) or 1.0
    low = min([i.mean if i.low is None else i.low for i in intervals] or [0.0])
    high = max([i.mean if i.high is None else i.high for i in intervals] or [1.0])
    return max(low, min(means) - reach), min(high, max(means) + reach)


def drawing(interval: Interval, scale: tuple[float, float], colour: str, gain: bool) -> Markup:
    """A dot, a line from low to high, cut at the scale's ends; of a gain, where zero is."""
    low, high = scale
    room = (high - low) or 1.0

    def x(value: float) -> str:
        share = min(1.0, max(0.0, (value - low) / room))
        return f"{EDGE + (WIDTH - 2 * EDGE) * share:.1f}"

    middle, parts = HEIGHT // 2, []
    if gain and low < 0 < high:
        parts.append(tag("line", x1=x(0), x2=x(0), y1=0, y2=HEIGHT, class_="zero"))
    if interval.low is not None and interval.high is not None:
        ends = {"x1": x(interval.low), "x2": x(interval.high), "y1": middle, "y2": middle}
        parts.append(tag("line", **ends, stroke=colour, stroke_width=2))
    parts.append(tag("circle", cx=x(interval.mean), cy=middle, r=4, fill=colour))
    size = {"width": WIDTH, "height": HEIGHT, "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    return tag("svg", *parts, **size, aria_hidden="true")
