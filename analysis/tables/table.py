"""What a table is before it is text: sections, rows, cells, and the runs behind each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.runs import Record
from analysis.statistics import Interval

SHORT = 8  # characters of a hash that a reader is shown
START = "start model"
USUAL = ("gold/reward", "win_rate/start", "accuracy/likelihood", "length/generated", "kl/reference")
UNITS = {"length/generated": "tokens", "kl/reference": "nats"}
UPWARDS = frozenset(
    "gold/reward gold/helpfulness gold/faithfulness gold/tone "
    "win_rate/start accuracy/likelihood accuracy/drift".split()
)


@dataclass(frozen=True)
class Column:
    """One metric of the aligned model, or (gain) that metric minus the start model's, per run."""

    metric: str
    gain: bool = False
    unit: str = ""
    scale: float = 1.0
    """What a printed value is multiplied by (100 for a share in per cent); CSV stays unscaled."""
    decimals: int = 3
    higher_is_better: bool = False

    @property
    def key(self) -> str:
        return f"gain:{self.metric}" if self.gain else self.metric

    @property
    def heading(self) -> str:
        unit = f" ({self.unit})" if self.unit else ""
        return f"{'gain in ' if self.gain else ''}{self.metric}{unit}"

    def value(self, record: Record) -> float | None:
        after = record.metrics.get(self.metric)
        if not self.gain or after is None:
            return after
        before = record.start.get(self.metric)
        return None if before is None else after - before


@dataclass(frozen=True)
class Cell:
    """An interval over runs, and which runs."""

    interval: Interval
    run_ids: tuple[str, ...]
    best: bool = False


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

    @property
    def title(self) -> str:
        data = f"{self.data} {self.data_hash[:SHORT]}" if self.data_hash else self.data
        evaluator = self.evaluator[:SHORT] if self.evaluator else "not recorded"
        split = " (validation)" if self.validation else ""
        return f"model {self.model} · data {data} · evaluator {evaluator}{split}"


@dataclass(frozen=True)
class Table:
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    num_runs: int
    command: str

    def provenance(self) -> dict[str, list[str]]:
        """Which runs each cell is made of: `section | scenario | row | column` -> run ids."""
        cells: dict[str, list[str]] = {}
        for section in self.sections:
            where = f"{section.model} | {section.data} {section.data_hash} | {section.evaluator}"
            for row in section.rows:
                for column, cell in zip(section.columns, row.cells, strict=True):
                    if cell is not None:
                        key = f"{where} | {row.scenario} | {row.label} | {column.key}"
                        assert key not in cells, f"two cells are called {key}"
                        cells[key] = list(cell.run_ids)
        return cells


def columns_of(records: Sequence[Record], metrics: Sequence[str] | None) -> tuple[Column, ...]:
    """The columns for these runs; those that none of them has are left out.

    `metrics` None: the usual ones, with the gain of the first that the start model has too.
    Otherwise those metrics in that order, each with its gain where the start model has it.
    """
    have = {name for record in records for name in record.metrics}
    before = {name for record in records for name in record.start}
    usual = [name for name in USUAL if name in have] or sorted(have)
    names = usual if metrics is None else [name for name in metrics if name in have]
    gains = [name for name in names if name in before]
    gains = gains[:1] if metrics is None else gains
    columns = []
    for name in names:
        columns.append(_column(name))
        if name in gains:
            columns.append(_column(name, gain=True))
    return tuple(columns)


def _column(metric: str, gain: bool = False) -> Column:
    """How a metric is printed. Of the others (length, KL) neither end is the better one."""
    upwards = metric in UPWARDS
    if metric.startswith("win_rate/"):
        return Column(metric, gain, "%", 100.0, 1, upwards)
    decimals = {"length": 1, "kl": 2}.get(metric.split("/")[0], 3)
    return Column(metric, gain, UNITS.get(metric, ""), 1.0, decimals, upwards)
