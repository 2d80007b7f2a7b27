"""A table before it is text: columns, cells, rows, sections, and the runs behind each cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tiebreak.metrics import Direction, table_metric
from tiebreak.track.record_format import CHECKPOINT
from tiebreak_analysis.published import PublishedFigure, Reference
from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.statistics import Difference, Interval, Sample

SHORT = 8  # characters of a hash that a reader is shown
START = "start model"
CHECKPOINTS = "checkpoints"
"""What a section is called in place of a model where nothing in it was trained here."""
LEVEL = 0.95  # of every interval and every test
DECIDES = 2.0
"""Signal-to-noise below which a column cannot decide: of two rows, a |t| that nobody would call a
difference. See docs/statistics.md."""


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Column:
    """One metric of the aligned model, or (gain) that metric minus the start model's, per run."""

    metric: str
    gain: bool = False
    unit: str = ""
    scale: float = 1.0
    """What a printed value is multiplied by (100 for a share in per cent); CSV stays unscaled."""
    decimals: int = 3
    direction: Direction = Direction.NONE

    @classmethod
    def of(cls, metric: str, gain: bool = False) -> Column:
        """The column of a metric as the table of metrics says it is printed."""
        known = table_metric(metric)
        scale = 100.0 if known.printed_unit == "%" else 1.0
        return cls(metric, gain, known.printed_unit, scale, known.decimals, known.direction)

    @property
    def key(self) -> str:
        return f"gain:{self.metric}" if self.gain else self.metric

    @property
    def heading(self) -> str:
        unit = self.unit_of_difference if self.gain else self.unit
        return f"{'gain in ' if self.gain else ''}{self.metric}{f' ({unit})' if unit else ''}"

    @property
    def unit_of_difference(self) -> str:
        """Two shares in per cent differ by points."""
        return "points" if self.unit == "%" else self.unit

    @property
    def sign(self) -> int:
        """1: higher is better; -1: lower is; 0: no end is the better one, nothing is tested."""
        return {Direction.UP: 1, Direction.DOWN: -1, Direction.NONE: 0}[self.direction]

    def value(self, record: Record) -> float | None:
        after = record.metrics.get(self.metric)
        if not self.gain or after is None:
            return after
        before = record.start.get(self.metric)
        return None if before is None else after - before

    def text(self, value: float, signed: bool = False) -> str:
        """`value`, scaled and rounded as this column prints it, without the unit."""
        rounded = round(value * self.scale, self.decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
        return f"{rounded:{'+' if signed and rounded else ''}.{self.decimals}f}"


@dataclass(frozen=True)
class OfModels:
    """What a single model allows: a word on this very model, over the questions it answered."""

    interval: Interval
    """Over questions alone; nothing of training again."""
    highest: bool = False
    """The best mean of all that it was compared with."""
    differs: bool = False
    """Shown to differ from the best of these on these questions."""
    behind: Difference | None = None
    """The best minus this one, on common questions; None where no test was made."""
    p: float | None = None
    """That difference's p after Holm's correction over the tests of models of the section."""


@dataclass(frozen=True)
class ModelPair:
    """Two models that differ on the questions they both answered."""

    scenario: str
    """Of a pair with a checkpoint: that of the other model."""
    column: str
    """`Column.key`."""
    better: str
    worse: str
    """Row labels; of a checkpoint from elsewhere in the section `NAME (checkpoint)`."""
    difference: Difference
    """The better minus the worse one."""
    p: float
    """After Holm's correction."""


@dataclass(frozen=True)
class ModelTests:
    """The tests between single models of a section: a family of their own."""

    pairs: tuple[ModelPair, ...] = ()
    """Those shown to differ."""
    number: int = 0
    """Pairs that were tested."""
    untested: int = 0
    """Pairs that were not, because there are too many."""
    scenarios: tuple[str, ...] = ()
    """Where there was a test; of a pair with a checkpoint, where the other model stands."""


@dataclass(frozen=True)
class Cell:
    """An interval over runs (and items, where the runs kept them), and which runs."""

    interval: Interval
    run_ids: tuple[str, ...]
    sample: Sample = field(compare=False, repr=False)
    """What the interval was made from: one row per run, one column per item if there are any."""
    best: bool = False
    """The best mean among the methods of its scenario, where a test had seeds enough."""
    tied: bool = False
    """Not distinguishable from the best: tested, and no difference found."""
    behind: Difference | None = None
    """The best minus this one, on common seeds and items; None where no test was made."""
    p: float | None = None
    """That difference's p value after Holm's correction."""
    models: OfModels | None = None
    """Set where there are too few seeds to say anything of methods, and questions enough; of a
    start model or a checkpoint where it was compared."""

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
    published: tuple[PublishedFigure | None, ...] = ()
    """Beside each cell; empty: there is none in the whole section."""

    @property
    def missing(self) -> bool:
        return self.n == 0

    @property
    def trained(self) -> bool:
        """Whether it is of a method, or of the model a method started from; else a checkpoint that
        was measured as it is."""
        return self.scenario != CHECKPOINT

    @property
    def count(self) -> str:
        """`3`; `2 of 3` where runs are missing; `3, 1 stale`."""
        short = self.planned is not None and self.n < self.planned
        text = f"{self.n} of {self.planned}" if short else str(self.n)
        return f"{text}, {len(self.stale)} stale" if self.stale and self.method else text


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
    """The rows shown to be worse than the best."""
    untested: tuple[str, ...] = ()


def material_title(model: str, data: str) -> str:
    return f"{model if model == CHECKPOINTS else f'model {model}'} · data {data}"


def section_title(model: str, data: str, data_hash: str | None, evaluation: str | None) -> str:
    """What a section is about, with the beginnings of the hashes."""
    data = f"{data} {data_hash[:SHORT]}" if data_hash else data
    measured = evaluation[:SHORT] if evaluation else "not recorded"
    return f"{material_title(model, data)} · evaluation {measured}"


@dataclass(frozen=True)
class Section:
    """Rows that may be compared: same model, same data, measured in the same way."""

    model: str
    data: str
    data_hash: str | None
    evaluation: str | None
    """How its runs were measured: the id of their evaluation."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    validation: bool = False
    """Measured on validation rows, as in a search: no test results."""
    verdicts: tuple[Verdict, ...] = ()
    num_tests: int = 0
    """Pairs of methods that were tested: the family of Holm's correction."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Run id -> in what the code that made it differs from that of most runs here."""
    odd_items: Mapping[str, str] = field(default_factory=dict)
    """Run id -> why its values item by item are not used, though it has some."""
    outdated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Evaluator -> runs measured with an older version of it: not counted in its columns."""
    averaged: tuple[str, ...] = ()
    """The metrics behind the column `average`, one per benchmark; empty: there is none."""
    models: ModelTests = ModelTests()
    """What was tested of single models, over their questions."""
    signal: tuple[float | None, ...] = ()
    """By column: spread between rows over the standard error of a row's mean."""

    @property
    def title(self) -> str:
        split = " (validation)" if self.validation else ""
        return section_title(self.model, self.data, self.data_hash, self.evaluation) + split

    @property
    def published(self) -> tuple[bool, ...]:
        """By column: whether a published figure stands beside it in some row."""
        return tuple(
            any(row.published and row.published[at] is not None for row in self.rows)
            for at in range(len(self.columns))
        )

    def undecided(self, at: int) -> bool:
        """Whether column `at` has a better end, more noise than it can decide by, and indeed told
        no two rows apart; the start model is none, here as in the ratio."""
        column, signal = self.columns[at], self.signal[at] if self.signal else None
        cells = [row.cells[at] for row in self.rows if row.cells[at] is not None]
        told = any(cell.p is not None and not cell.tied for cell in cells if cell is not None)
        told |= any(pair.column in (column.key, column.metric) for pair in self.models.pairs
                    if START not in (pair.better, pair.worse))  # fmt: skip
        return bool(column.sign) and signal is not None and signal < DECIDES and not told

    def slots(self, row: Row) -> Iterator[tuple[Column, Cell | None, PublishedFigure | None]]:
        """A row's cells with the figure beside each."""
        figures = row.published or (None,) * len(self.columns)
        return zip(self.columns, row.cells, figures, strict=True)


@dataclass(frozen=True)
class Table:
    """All sections of one comparison, the notes below them and the runs behind them."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    num_runs: int
    command: str
    records: tuple[Record, ...] = field(default=(), repr=False)
    """Every run of a row."""
    references: Mapping[Reference, str] = field(default_factory=dict)
    """Source and marks of the published figures shown -> the letter that stands in the cells."""

    @property
    def runs_counted(self) -> str:
        return counted(self.num_runs, "finished run")
