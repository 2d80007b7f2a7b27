"""The columns of a table: one metric, or its gain over the start model, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiebreak.metrics import Direction, Shown, table_metric
from tiebreak.metrics import shown as shown_in
from tiebreak_analysis.records.runs import Record

USUAL = shown_in(Shown.TABLES)


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
        unit = self.unit_of_difference if self.gain else self.unit
        return f"{'gain in ' if self.gain else ''}{self.metric}{f' ({unit})' if unit else ''}"

    @property
    def unit_of_difference(self) -> str:
        """Two shares in per cent differ by points."""
        return "points" if self.unit == "%" else self.unit

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


def columns_of(
    records: Sequence[Record], metrics: Sequence[str | Column] | None
) -> tuple[Column, ...]:
    """The columns for these runs; those that none of them has are left out.

    `metrics` None: the usual ones, with the gain of the first that the start model has too.
    Otherwise those metrics in that order, each with its gain where the start model has it; a
    `Column` stands as it is given, without a gain.
    """
    have = {name for record in records for name in record.metrics}
    before = {name for record in records for name in record.start}
    usual = [name for name in USUAL if name in have] or sorted(have)
    columns: list[Column] = []
    gains = 0
    for one in usual if metrics is None else metrics:
        column = one if isinstance(one, Column) else column_of(one)
        if column.metric not in have:
            continue
        columns.append(column)
        if isinstance(one, str) and one in before and (metrics is not None or not gains):
            columns.append(column_of(one, gain=True))
            gains += 1
    return tuple(columns)


def shown(records: Sequence[Record], metrics: Sequence[str | Column] | None) -> list[str]:
    """The metrics that columns of these runs are made of, whichever section they fall into."""
    if metrics is not None:
        return sorted({one.metric if isinstance(one, Column) else one for one in metrics})
    having = [set(record.metrics) for record in records]
    return sorted({name for have in having for name in have & set(USUAL) or have})


def column_of(metric: str, gain: bool = False) -> Column:
    """How a metric is printed."""
    known = table_metric(metric)
    scale = 100.0 if known.printed_unit == "%" else 1.0
    upwards = known.direction is Direction.UP
    return Column(metric, gain, known.printed_unit, scale, known.decimals, upwards)
