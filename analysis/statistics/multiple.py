"""Many comparisons at once: Holm's correction, all pairs of methods, ties with the best."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from tiebreak_analysis.statistics.interval import check_level
from tiebreak_analysis.statistics.paired import Difference, difference
from tiebreak_analysis.statistics.sample import Sample

Key = TypeVar("Key", bound=Hashable)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the same order; reject where one is below 1 - level.

    Holm (1979), "A simple sequentially rejective multiple test procedure": with m values sorted
    upwards, the i-th becomes max over j <= i of min(1, (m - j + 1) p_j). The chance of any false
    rejection in the family is at most 1 - level, however the tests depend on one another. None (not
    testable) stays None and does not count in m. ValueError: a p outside [0, 1].
    """
    tested = sorted((value, at) for at, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    so_far = 0.0
    for place, (value, at) in enumerate(tested):
        if not 0 <= value <= 1:
            raise ValueError(f"a p-value lies between 0 and 1: {value!r}")
        so_far = max(so_far, min(1.0, (len(tested) - place) * value))
        adjusted[at] = so_far
    return adjusted


def adjust(p: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """`holm` over named tests: one family is everything that one table may declare."""
    return dict(zip(p, holm(list(p.values())), strict=True))


def pairwise(
    samples: Mapping[str, Sample], level: float = 0.95
) -> dict[tuple[str, str], Difference]:
    """The difference of every pair of methods (a, b), a before b in the order given: a minus b.

    Pairs without a common seed are left out: they cannot be compared. ValueError: as `difference`.
    """
    return {
        (a, b): difference(samples[a], samples[b], level)
        for a, b in combinations(samples, 2)
        if set(samples[a].seeds) & set(samples[b].seeds)
    }


def tied_with_best(
    samples: Mapping[str, Sample],
    best: str,
    adjusted: Mapping[tuple[str, str], float | None],
    level: float = 0.95,
) -> frozenset[str]:
    """The methods that the data cannot tell from `best`, itself among them.

    `adjusted`: adjusted p of each pair, in either order. Which method has the highest mean is
    itself read off the data, so the family must hold all pairs, not only those with the best
    (Hsu 1996, "Multiple Comparisons", on selection). A pair that was not tested is a tie: nothing
    was shown. ValueError: `best` is none of the methods, a level outside (0, 1).
    """
    check_level(level)
    if best not in samples:
        raise ValueError(f"{best!r} is none of {', '.join(samples)}")

    def told_apart(name: str) -> bool:
        p = adjusted.get((best, name), adjusted.get((name, best)))
        return p is not None and p < 1 - level

    return frozenset(name for name in samples if name == best or not told_apart(name))
