"""What may be said from a sample: pure functions whose normal result is an interval.

`docs/statistics.md` says which of them a table uses and why.
"""

from analysis.statistics.bootstrap import bootstrap_interval, interquartile_mean
from analysis.statistics.crossed import interval, item_interval
from analysis.statistics.few import RECOMMENDED_SEEDS, too_few
from analysis.statistics.improvement import probability_of_improvement
from analysis.statistics.interval import Interval, mean_interval
from analysis.statistics.multiple import adjust, holm, pairwise, tied_with_best
from analysis.statistics.paired import Difference, McNemar, difference, mcnemar
from analysis.statistics.ranks import Ranking, friedman, rank
from analysis.statistics.sample import Sample
from analysis.statistics.tuning import Selected, expected_best, select

__all__ = [
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
