"""An effect: a claim, what was measured for and against it, and what may be said.

Each test asks whether an estimate lies above a threshold fixed beforehand. Its interval answers:
wholly above, the test holds; wholly below, it fails; across, nobody can tell. All tests of an
effect must hold together, so no correction for their number is due: the chance that all hold
although one is false is no larger than that one's own (Berger 1982, intersection-union test).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tiebreak_analysis.statistics import (
    MIN_SEEDS,
    Difference,
    Interval,
    Sample,
    difference,
    interval,
)  # fmt: skip
from tiebreak_analysis.studies.samples import combined

LEVEL = 0.95
UNPAIRED = "no seed has a finished run of each"
FARTHEST = 64.0  # an interval wider than this says nothing


class Holds(StrEnum):
    """Whether a test or an effect holds."""

    YES = "holds"
    NO = "does not hold"
    OPEN = "cannot tell"


@dataclass(frozen=True)
class EffectEstimate:
    """A mean and its interval, in the unit of its test, and what it rests on."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int
    num_items: int = 0
    """Prompts or pairs that every seed was measured on; 0: one number per seed."""

    @classmethod
    def of(cls, found: Difference | Interval, num_items: int = 0) -> EffectEstimate:
        if isinstance(found, Interval):
            return cls(found.mean, found.low, found.high, found.n, num_items)
        return cls(found.mean, found.low, found.high, found.num_seeds, found.num_items)


@dataclass(frozen=True)
class EffectTest:
    """One estimate against one threshold.

    what: what is estimated, with its sign (`DPO minus SimPO, ...`). guard: it only must not fail,
    where a condition can be refuted but needs more seeds to be shown. missing: why there is no
    estimate.
    """

    what: str
    unit: str
    threshold: float
    estimate: EffectEstimate | None
    guard: bool = False
    missing: str = ""

    @property
    def outcome(self) -> Holds:
        found = self.estimate
        if found is None or found.low is None or found.high is None:
            return Holds.OPEN
        if found.num_seeds < MIN_SEEDS:
            return Holds.OPEN
        if found.low > self.threshold:
            return Holds.YES
        return Holds.NO if found.high < self.threshold else Holds.OPEN

    @property
    def words(self) -> str:
        """One sentence: the number, its interval, what it should be above, and the outcome."""
        if self.estimate is None:
            return f"{self.what}: not measured ({self.missing})"
        found = self.estimate
        words = f"{self.what}: {number(found.mean, self.unit)}"
        if found.low is not None and found.high is not None:
            words += f" [{_bare(found.low, self.unit)}, {_bare(found.high, self.unit)}]"
        items = f" x {found.num_items} items" if found.num_items else ""
        words += f" ({found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}{items})"
        bound = number(self.threshold, "%" if self.unit == "%" else "")
        wanted = f"{'must not be below' if self.guard else 'must be above'} {bound}"
        return f"{words}; {wanted}: {self._answer(found)}"

    def _answer(self, found: EffectEstimate) -> str:
        if found.num_seeds < MIN_SEEDS:
            return f"{Holds.OPEN}, too few seeds (needs {MIN_SEEDS})"
        return str(self.outcome)


@dataclass(frozen=True)
class Effect:
    """What a study says about one claim.

    claim: as the paper, or folklore, has it. tests: the first is the one the claim is about.
    details: estimates worth seeing that decide nothing.
    """

    name: str
    claim: str
    tests: tuple[EffectTest, ...]
    details: tuple[EffectTest, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        assert self.tests and not self.tests[0].guard, "an effect is about its first test"

    @property
    def difference(self) -> EffectEstimate | None:
        """The estimate that the claim is about."""
        return self.tests[0].estimate

    @property
    def outcome(self) -> Holds:
        if any(test.outcome is Holds.NO for test in self.tests):
            return Holds.NO
        if any(test.outcome is Holds.OPEN and not test.guard for test in self.tests):
            return Holds.OPEN
        return Holds.YES

    @property
    def holds(self) -> bool:
        return self.outcome is Holds.YES

    @property
    def words(self) -> str:
        """The claim, its outcome, and every test of it."""
        parts = [f"{self.claim}: {self.outcome}", *(_sentence(test.words) for test in self.tests)]
        return ". ".join(parts) + (f". {self.remark}" if self.remark else ".")


def estimated(
    what: str,
    unit: str,
    threshold: float,
    found: Difference | Interval | None,
    *,
    guard: bool = False,
    missing: str = "",
) -> EffectTest:
    """A test of a result of `analysis.statistics`; None with the reason why there is none."""
    assert found is not None or missing, "a missing estimate says why"
    estimate = None if found is None else EffectEstimate.of(found)
    return EffectTest(what, unit, threshold, estimate, guard, missing)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def number(value: float, unit: str = "") -> str:
    """Three significant digits: `0.137`, `12.3 tokens`, `95 %`."""
    return f"{_bare(value, unit)} {unit}".rstrip()


def _bare(value: float, unit: str) -> str:
    """A share is kept as a share and printed in per cent."""
    return f"{100 * value if unit == '%' else value:.3g}"


def holding(effects: Iterable[Effect]) -> str:
    """`effects that hold: 3 of 5`, for a heading."""
    several = list(effects)
    return f"effects that hold: {sum(effect.holds for effect in several)} of {len(several)}"


def mean(what: str, unit: str, threshold: float, sample: Sample | None) -> EffectTest:
    """The mean of a sample against a threshold, over seeds and items."""
    if sample is None:
        return estimated(what, unit, threshold, None, missing="no finished run")
    found = EffectEstimate.of(interval(sample, LEVEL), len(sample.items))
    return EffectTest(what, unit, threshold, found)


def apart(what: str, unit: str, a: Sample | None, b: Sample | None) -> EffectTest:
    """a minus b, paired on seeds and items, against zero."""
    if a is None or b is None or not set(a.seeds) & set(b.seeds):
        return estimated(what, unit, 0.0, None, missing=UNPAIRED)
    return estimated(what, unit, 0.0, difference(a, b, LEVEL))


def share(part: Sample, whole: Sample, level: float = LEVEL) -> EffectEstimate:
    """Mean of `part` over mean of `whole`: all c for which `part` - c `whole` cannot be told from
    zero (Fieller 1954, "Some problems in interval estimation").

    Unlike an interval of the ratios by seed it does not break where a seed's `whole` is small. No
    interval where `whole` is not told from zero: then no ratio is excluded. The two share a seed.
    """
    from scipy.optimize import brentq

    both = [combined([part, whole], weights) for weights in ([1.0, 0.0], [0.0, 1.0])]
    assert both[0] is not None and both[1] is not None, "the two share a seed and an item"
    part, whole = both[0], both[1]
    counts = len(part.seeds), len(part.items)
    base = interval(whole, level)
    if base.low is None or base.low <= 0:
        ratio = part.mean / whole.mean if whole.mean else 0.0
        return EffectEstimate(ratio, None, None, *counts)
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
            return EffectEstimate(ratio, None, None, *counts)
    lowest = float(brentq(low, ratio - width, ratio, xtol=1e-4))
    highest = float(brentq(high, ratio, ratio + width, xtol=1e-4))
    return EffectEstimate(ratio, lowest, highest, *counts)


def _bounds(part: Sample, whole: Sample, c: float, level: float) -> tuple[float, float]:
    scaled = combined([whole], [c])
    assert scaled is not None
    found = difference(part, scaled, level)
    if found.low is None or found.high is None:
        return found.mean, found.mean
    return found.low, found.high
