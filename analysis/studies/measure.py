"""The parts of effects, made from samples; and paths, made from the runs along one axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.statistics import Sample, difference
from tiebreak_analysis.statistics.crossed import interval
from tiebreak_analysis.studies.effect import LEVEL, Estimate, Part, estimated
from tiebreak_analysis.studies.frontier import Points
from tiebreak_analysis.studies.samples import Where, gain, pick

UNPAIRED = "no seed has a finished run of each"


def mean(what: str, unit: str, threshold: float, sample: Sample | None) -> Part:
    """The mean of a sample against a threshold, over seeds and items."""
    if sample is None:
        return estimated(what, unit, threshold, None, missing="no finished run")
    found = Estimate.of(interval(sample, LEVEL), len(sample.items))
    return Part(what, unit, threshold, found)


def apart(what: str, unit: str, a: Sample | None, b: Sample | None) -> Part:
    """a minus b, paired on seeds and items, against zero."""
    if a is None or b is None or not set(a.seeds) & set(b.seeds):
        return estimated(what, unit, 0.0, None, missing=UNPAIRED)
    return estimated(what, unit, 0.0, difference(a, b, LEVEL))


def paths(
    records: Sequence[Record], settings: Sequence[Where], cost: Callable[[Record], float | None]
) -> Points:
    """Seed -> (cost, gain in gold reward) of each of `settings`, in their order, the weakest
    training first; only seeds with a finished run of every one."""
    runs = [pick(records, where) for where in settings]
    found: dict[int, list[tuple[float, float]]] = {}
    for seed in sorted(set.intersection(*(set(by_seed) for by_seed in runs)) if runs else ()):
        path = [(cost(by_seed[seed]), gain(by_seed[seed])) for by_seed in runs]
        whole = [(paid, won) for paid, won in path if paid is not None and won is not None]
        if len(whole) == len(path):
            found[seed] = whole
    return found
