"""What a table is before it is text: sections, rows, cells, and the runs behind each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tiebreak_analysis.statistics import Difference, Interval, Sample
from tiebreak_analysis.tables.columns import USUAL, Column
from tiebreak_analysis.tables.facts import Facts
from tiebreak_analysis.tables.published import Published, Reference

__all__ = [
    "SHORT", "START", "USUAL", "Cell", "Column", "Row", "Section", "Table", "Verdict",
]  # fmt: skip
SHORT = 8  # characters of a hash that a reader is shown
START = "start model"


@dataclass(frozen=True)
class Cell:
    """An interval over runs (and items, where the runs kept them), and which runs."""

    interval: Interval
    run_ids: tuple[str, ...]
    sample: Sample = field(compare=False, repr=False)
    """What the interval was made from: one row per run, one column per item if there are any."""
    best: bool = False
    """The highest mean among the methods of its scenario, where a test had seeds enough."""
    tied: bool = False
    """Not distinguishable from the best: tested, and no difference found."""
    behind: Difference | None = None
    """The best minus this one, on common seeds and items; None where no test was made."""
    p: float | None = None
    """That difference's p value after Holm's correction."""

    @property
    def num_seeds(self) -> int:
        return len(self.sample.seeds)

    @property
    def num_items(self) -> int:
        return len(self.sample.items)


@dataclass(frozen=True)
class Row:
    """One group of runs (one method, one set of hyper-parameters), or the start model."""

    scenario: str
    label: str
    method: str | None
    """None: the start model."""
    group_id: str | None
    n: int
    """Runs (one per seed); for the start model: distinct start models."""
    run_ids: tuple[str, ...]
    cells: tuple[Cell | None, ...]
    planned: int | None = None
    """How many runs of it the study asks for; None: nobody said."""
    stale: tuple[str, ...] = ()
    """Those of `run_ids` that other code or versions made than the rest of the section."""
    published: tuple[Published | None, ...] = ()
    """Beside each cell; empty: there is none in the whole section."""

    @property
    def missing(self) -> bool:
        return self.n == 0

    @property
    def count(self) -> str:
        """`3`; `2 of 3` where runs are missing; `3, 1 stale`."""
        short = self.planned is not None and self.n < self.planned
        told = f"{self.n} of {self.planned}" if short else str(self.n)
        return f"{told}, {len(self.stale)} stale" if self.stale and self.method else told


@dataclass(frozen=True)
class Verdict:
    """What can be said of one scenario's methods by one metric, in words and as labels."""

    scenario: str
    metric: str
    text: str
    best: str | None
    """None: too few seeds to name one."""
    tied: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()


def full_title(model: str, data: str, data_hash: str | None, evaluator: str | None) -> str:
    """What a section is about, with the beginnings of the hashes."""
    data = f"{data} {data_hash[:SHORT]}" if data_hash else data
    told = evaluator[:SHORT] if evaluator else "not recorded"
    return f"model {model} · data {data} · evaluator {told}"


@dataclass(frozen=True)
class Section:
    """Rows that may be compared: same model, same data, same evaluator."""

    model: str
    data: str
    data_hash: str | None
    evaluator: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    validation: bool = False
    """Measured on validation rows, as in a search: no test results."""
    verdicts: tuple[Verdict, ...] = ()
    num_tests: int = 0
    """Pairs of methods that were tested: the family of Holm's correction."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Run id -> in what the code that made it differs from that of most runs here."""

    @property
    def title(self) -> str:
        split = " (validation)" if self.validation else ""
        return full_title(self.model, self.data, self.data_hash, self.evaluator) + split

    @property
    def name(self) -> str:
        """Unlike any other section's of the same table."""
        return f"{self.model} | {self.data} {self.data_hash} | {self.evaluator}"

    @property
    def published(self) -> tuple[bool, ...]:
        """By column: whether a published figure stands beside it in some row."""
        return tuple(
            any(row.published and row.published[at] is not None for row in self.rows)
            for at in range(len(self.columns))
        )


@dataclass(frozen=True)
class Table:
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    num_runs: int
    command: str
    level: float = 0.95
    facts: Mapping[str, Facts] = field(default_factory=dict)
    """Run id -> where it came from, for every run of a row."""
    references: Mapping[Reference, str] = field(default_factory=dict)
    """Source and marks of the published figures shown -> the letter that stands in the cells."""

    def provenance(self) -> dict[str, list[str]]:
        """Which runs each cell is made of: `section | scenario | row | column` -> run ids."""
        cells: dict[str, list[str]] = {}
        for section in self.sections:
            for row in section.rows:
                for column, cell in zip(section.columns, row.cells, strict=True):
                    if cell is not None:
                        key = f"{section.name} | {row.scenario} | {row.label} | {column.key}"
                        assert key not in cells, f"two cells are called {key}"
                        cells[key] = list(cell.run_ids)
        return cells
