"""No data (every source is a file): of a checkpoint only benchmarks are measured then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tiebreak.data.examples import Example
from tiebreak.data.sources.source import Data, Sampler
from tiebreak.errors import UserError


@dataclass(frozen=True, kw_only=True)
class NoData(Data):
    """The source without rows."""

    max_length: int = 1024
    max_prompt_length: int | None = None
    max_dropped_share: float = 0.0

    has_rows: ClassVar[bool] = False

    def sides(self) -> tuple[str, ...]:
        return ()

    @property
    def can_demonstrate(self) -> bool:
        return False

    def ignored(self, side: str) -> frozenset[str]:
        return frozenset({"max_length", "max_prompt_length"})

    def rows(self, side: str, sample: Sampler | None = None) -> list[Example]:
        raise UserError(f"data={self.name} has no rows; give data=FILE, or ORG/NAME of the Hub")


SOURCE = NoData
