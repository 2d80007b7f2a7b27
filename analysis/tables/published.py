"""A figure somebody published, to stand beside ours, with what is known of its provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published figure, in the unit in which it was published."""

    value: float
    unit: str
    """As a column prints its own: "%" for a share in per cent, "tokens", "nats", "" for none."""
    source: str
    """Paper and table, or repository and file: where a reader finds the figure."""
    marks: tuple[str, ...] = ()
    """What a reader must know before trusting it: `secondary`, `SUSPECT`, ..."""
    spread: float | None = None
    """By how much replications of this figure are known to differ, in the same unit."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError(f"a published value needs a source: {self.value!r}")
        if not math.isfinite(self.value):
            raise ValueError(f"a published value must be a finite number: {self.value!r}")
        if self.spread is not None and not (math.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(f"spread must be a finite number, 0 or more: {self.spread!r}")


Figures = Mapping[tuple[str | None, str, str], Published]
"""(scenario, or None for any; method, row label or "start model"; column key) -> figure."""


def figure(
    figures: Figures, scenario: str, names: tuple[str | None, ...], key: str
) -> Published | None:
    """The figure for this cell: the scenario's own before that of any, `names` in their order."""
    for name in names:
        for where in (scenario, None):
            if name is not None and (where, name, key) in figures:
                return figures[where, name, key]
    return None


def within_spread(ours: float, figure: Published, unit: str) -> bool | None:
    """Whether our printed value is as near as replications of that figure are to one another.

    None: not to be told, because no spread is known or the two are in different units.
    """
    if figure.spread is None or figure.unit != unit:
        return None
    return abs(ours - figure.value) <= figure.spread


Reference = tuple[str, tuple[str, ...]]
"""Source and marks: cells of one table of one paper share a letter."""


def references(figures: Iterable[Published]) -> dict[Reference, str]:
    """A letter for each source and set of marks, in the order in which a reader meets them."""
    distinct = dict.fromkeys((one.source, one.marks) for one in figures)
    return {reference: _letters(at) for at, reference in enumerate(distinct)}


def _letters(at: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    before, last = divmod(at, 26)
    return (_letters(before - 1) if before else "") + "abcdefghijklmnopqrstuvwxyz"[last]
