"""A ratio of two means measured on the same seeds and items, with Fieller's interval."""

from __future__ import annotations

from scipy.optimize import brentq

from tiebreak_analysis.statistics import Sample, difference
from tiebreak_analysis.statistics.crossed import interval
from tiebreak_analysis.studies.effect import LEVEL, Estimate
from tiebreak_analysis.studies.samples import combined

FARTHEST = 64.0  # an interval wider than this says nothing


def share(part: Sample, whole: Sample, level: float = LEVEL) -> Estimate:
    """Mean of `part` over mean of `whole`: all c for which `part` - c `whole` cannot be told from
    zero (Fieller 1954, "Some problems in interval estimation").

    Unlike an interval of the ratios by seed it does not break where a seed's `whole` is small. No
    interval where `whole` is not told from zero: then no ratio is excluded. The two share a seed.
    """
    both = [combined([part, whole], weights) for weights in ([1.0, 0.0], [0.0, 1.0])]
    assert both[0] is not None and both[1] is not None, "the two share a seed and an item"
    part, whole = both[0], both[1]
    counts = len(part.seeds), len(part.items)
    base = interval(whole, level)
    if base.low is None or base.low <= 0:
        ratio = part.mean / whole.mean if whole.mean else 0.0
        return Estimate(ratio, None, None, *counts)
    ratio = part.mean / whole.mean

    def low(c: float) -> float:
        """Above zero for a c that is too small."""
        return _bounds(part, whole, c, level)[0]

    def high(c: float) -> float:
        """Below zero for a c that is too large."""
        return _bounds(part, whole, c, level)[1]

    width = 1.0
    while low(ratio - width) <= 0 or high(ratio + width) >= 0:
        width *= 2
        if width > FARTHEST:
            return Estimate(ratio, None, None, *counts)
    lowest = float(brentq(low, ratio - width, ratio, xtol=1e-4))
    highest = float(brentq(high, ratio, ratio + width, xtol=1e-4))
    return Estimate(ratio, lowest, highest, *counts)


def _bounds(part: Sample, whole: Sample, c: float, level: float) -> tuple[float, float]:
    scaled = combined([whole], [c])
    assert scaled is not None
    found = difference(part, scaled, level)
    if found.low is None or found.high is None:
        return found.mean, found.mean
    return found.low, found.high
