"""What may be said from a sample: pure functions whose normal result is an interval.

`docs/statistics.md` says which of them a table uses and why.
"""

from tiebreak_analysis.statistics.bootstrap import bootstrap_interval, interquartile_mean
from tiebreak_analysis.statistics.crossed import interval, item_interval
from tiebreak_analysis.statistics.few import MIN_SEEDS, RECOMMENDED_SEEDS, too_few
from tiebreak_analysis.statistics.improvement import probability_of_improvement
from tiebreak_analysis.statistics.interval import Interval, mean_interval
from tiebreak_analysis.statistics.multiple import adjust, holm, pairwise, tied_with_best
from tiebreak_analysis.statistics.paired import Difference, McNemar, difference, mcnemar
from tiebreak_analysis.statistics.ranks import Ranking, friedman, rank
from tiebreak_analysis.statistics.sample import Sample
from tiebreak_analysis.statistics.tuning import Selected, expected_best, select

__all__ = [
    "MIN_SEEDS",
    "RECOMMENDED_SEEDS",
    "Difference",
    "Interval",
    "McNemar",
    "Ranking",
    "Sample",
    "Selected",
    "adjust",
    "bootstrap_interval",
    "difference",
    "expected_best",
    "friedman",
    "holm",
    "interquartile_mean",
    "interval",
    "item_interval",
    "mcnemar",
    "mean_interval",
    "pairwise",
    "probability_of_improvement",
    "rank",
    "select",
    "tied_with_best",
    "too_few",
]
