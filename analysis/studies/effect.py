"""An effect: a claim, what was measured for and against it, and what may be said.

Each part asks whether an estimate lies above a threshold fixed beforehand. Its interval answers:
wholly above, the part holds; wholly below, it fails; across, nobody can tell. All tests of an
effect must hold together, so no correction for their number is due: the chance that all hold
although one is false is no larger than that one's own (Berger 1982, intersection-union test).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tiebreak_analysis.statistics import MIN_SEEDS, Difference, Interval

LEVEL = 0.95


class Outcome(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "cannot tell"


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval, in the unit of its part, and what it rests on."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int
    num_items: int = 0
    """Prompts or pairs that every seed was measured on; 0: one number per seed."""

    @classmethod
    def of(cls, found: Difference | Interval, num_items: int = 0) -> Estimate:
        if isinstance(found, Interval):
            return cls(found.mean, found.low, found.high, found.n, num_items)
        return cls(found.mean, found.low, found.high, found.num_seeds, found.num_items)


@dataclass(frozen=True)
class Part:
    """One estimate against one threshold.

    what: what is estimated, with its sign (`DPO minus SimPO, ...`). guard: it only must not fail,
    where a condition can be refuted but needs more seeds to be shown. missing: why there is no
    estimate.
    """

    what: str
    unit: str
    threshold: float
    estimate: Estimate | None
    guard: bool = False
    missing: str = ""

    @property
    def outcome(self) -> Outcome:
        found = self.estimate
        if found is None or found.low is None or found.high is None:
            return Outcome.OPEN
        if found.num_seeds < MIN_SEEDS:
            return Outcome.OPEN
        if found.low > self.threshold:
            return Outcome.HOLDS
        return Outcome.FAILS if found.high < self.threshold else Outcome.OPEN

    @property
    def words(self) -> str:
        """One sentence: the number, its interval, what it should be above, and the outcome."""
        if self.estimate is None:
            return f"{self.what}: not measured ({self.missing})"
        found = self.estimate
        told = f"{self.what}: {number(found.mean, self.unit)}"
        if found.low is not None and found.high is not None:
            told += f" [{_bare(found.low, self.unit)}, {_bare(found.high, self.unit)}]"
        items = f" x {found.num_items} items" if found.num_items else ""
        told += f" ({found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}{items})"
        bound = number(self.threshold, "%" if self.unit == "%" else "")
        wanted = f"{'must not be below' if self.guard else 'must be above'} {bound}"
        return f"{told}; {wanted}: {self._answer(found)}"

    def _answer(self, found: Estimate) -> str:
        if found.num_seeds < MIN_SEEDS:
            return f"{Outcome.OPEN}, too few seeds (needs {MIN_SEEDS})"
        return str(self.outcome)


@dataclass(frozen=True)
class Effect:
    """What a study says about one claim.

    claim: as the paper, or folklore, has it. tests: the first is the one the claim is about.
    details: estimates worth seeing that decide nothing.
    """

    name: str
    claim: str
    tests: tuple[Part, ...]
    details: tuple[Part, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        assert self.tests and not self.tests[0].guard, "an effect is about its first test"

    @property
    def difference(self) -> Estimate | None:
        """The estimate that the claim is about."""
        return self.tests[0].estimate

    @property
    def outcome(self) -> Outcome:
        if any(part.outcome is Outcome.FAILS for part in self.tests):
            return Outcome.FAILS
        if any(part.outcome is Outcome.OPEN and not part.guard for part in self.tests):
            return Outcome.OPEN
        return Outcome.HOLDS

    @property
    def holds(self) -> bool:
        return self.outcome is Outcome.HOLDS

    @property
    def words(self) -> str:
        """The claim, its outcome, and every test of it."""
        told = [f"{self.claim}: {self.outcome}", *(_sentence(part.words) for part in self.tests)]
        return ". ".join(told) + (f". {self.remark}" if self.remark else ".")


def estimated(
    what: str,
    unit: str,
    threshold: float,
    found: Difference | Interval | None,
    *,
    guard: bool = False,
    missing: str = "",
) -> Part:
    """A part from a result of `analysis.statistics`; None with the reason why there is none."""
    assert found is not None or missing, "a missing estimate says why"
    estimate = None if found is None else Estimate.of(found)
    return Part(what, unit, threshold, estimate, guard, missing)


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
