"""What a table says when a sample has too few seeds to answer."""

from __future__ import annotations

from tiebreak_analysis.statistics.sample import Sample

MIN_SEEDS = 3
"""Fewer seeds give no interval worth printing: with two, Student's t is 12.7; with one, none."""

RECOMMENDED_SEEDS = 12
"""Seeds at which a gap of 0.05 in gold reward is found in four of five tables of the usual size
(`python benchmarks/verdicts.py`); see docs/statistics.md."""

ENOUGH_TO_TEST = 5
"""Below this Student's quantile at a corrected level is so large (33 with three seeds, 13 with
four; 54 tests) that a table of some dozen comparisons shows next to nothing."""


def too_few(sample: Sample) -> str | None:
    """What to print beside a mean of one to four seeds; None from five on."""
    count = len(sample.seeds)
    if count == 1:
        return "one seed: no interval and no test; another seed may order the methods differently"
    if count == 2:
        return "two seeds: the interval is as good as none (t = 12.7)"
    if count < ENOUGH_TO_TEST:
        return (
            f"{count} seeds: after correction only very large differences can be shown; a tie here "
            f"says little ({RECOMMENDED_SEEDS} seeds are recommended)"
        )
    return None
