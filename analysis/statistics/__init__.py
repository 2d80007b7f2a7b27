"""What may be said from a sample: pure functions whose normal result is an interval.

`docs/statistics.md` says which of them a table uses and why.
"""

from tiebreak_analysis.statistics.comparisons import Difference, adjust, difference, holm
from tiebreak_analysis.statistics.crossed import interval, item_interval
from tiebreak_analysis.statistics.sample import (
    MIN_SEEDS,
    RECOMMENDED_SEEDS,
    Interval,
    Sample,
    mean_interval,
)

__all__ = [
    "MIN_SEEDS",
    "RECOMMENDED_SEEDS",
    "Difference",
    "Interval",
    "Sample",
    "adjust",
    "difference",
    "holm",
    "interval",
    "item_interval",
    "mean_interval",
]
