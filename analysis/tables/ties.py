"""Which method is best, which are tied with it, and which are shown to be lower.

Every pair of methods, in every scenario and every column with a better end, is one test on common
seeds and items; all tests of a section are one family under Holm's correction. All pairs, not only
those with the best: which mean is highest is itself read off the data. A gain over a start model
that both methods share is the same comparison as the metric, so it is tested once. Rows with fewer
than three seeds take no part: they are neither best nor tied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tiebreak_analysis.statistics import Sample, adjust, difference
from tiebreak_analysis.statistics.crossed import crossed, p_value
from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.rows import Block
from tiebreak_analysis.tables.table import Cell, Row

FEW = 3  # fewer seeds: Student's quantile is 12.7 (n = 2), or there is no interval (n = 1)
MOST = 20_000  # pairs in a section; beyond, no correction would leave anything to find
AT_ONCE = 64  # pairs judged together: the memory of one batch stays in the tens of MB

Question = tuple[int, str]  # block, what is compared
Pair = tuple[str, str]  # row labels


@dataclass(frozen=True)
class Judged:
    """The blocks' rows with `best`, `tied`, `behind` and `p` in their cells."""

    blocks: tuple[tuple[Row, ...], ...]
    num_tests: int
    too_many: int
    """Pairs that there would be, where they were too many to test; else 0."""


def judged(blocks: Sequence[Block], columns: Sequence[Column], level: float) -> Judged:
    """Compare the methods inside each block. `level`: a difference is shown at p < 1 - level."""
    plain = tuple(block.rows for block in blocks)
    asked = dict(_questions(blocks, columns))
    num_pairs = sum(len(rivals) * (len(rivals) - 1) // 2 for rivals in asked.values())
    if num_pairs > MOST:
        return Judged(plain, 0, num_pairs)
    p = {
        (question, pair): value
        for question, rivals in asked.items()
        for pair, value in _pairs(rivals).items()
    }
    adjusted = adjust(p)
    found = []
    for at, block in enumerate(blocks):
        rows = block.rows
        for place, column in enumerate(columns):
            rivals = _rivals(block, place) if column.higher_is_better else {}
            if rivals:
                question = at, _subject(block, columns, column)
                verdicts = {pair: q for (asked_of, pair), q in adjusted.items()
                            if asked_of == question}  # fmt: skip
                rows = _marked(rows, place, rivals, verdicts, level)
        found.append(rows)
    return Judged(tuple(found), sum(value is not None for value in p.values()), 0)


def _rivals(block: Block, place: int) -> dict[str, Sample]:
    """Row label -> sample of the rows to compare; none unless there are two methods or more."""
    present = [(row, cell) for row in block.rows if row.method is not None
               and (cell := row.cells[place]) is not None and cell.num_seeds >= FEW]  # fmt: skip
    if len({row.method for row, _ in present}) < 2:
        return {}
    return {row.label: cell.sample for row, cell in present}


def _subject(block: Block, columns: Sequence[Column], column: Column) -> str:
    keys = {one.key for one in columns if one.higher_is_better}
    return column.metric if block.one_start and column.metric in keys else column.key


def _questions(
    blocks: Sequence[Block], columns: Sequence[Column]
) -> Iterator[tuple[Question, dict[str, Sample]]]:
    """Each once: of a metric and its gain, the metric, which stands first."""
    seen = set()
    for at, block in enumerate(blocks):
        for place, column in enumerate(columns):
            question = at, _subject(block, columns, column)
            if column.higher_is_better and question not in seen and _rivals(block, place):
                seen.add(question)
                yield question, _rivals(block, place)


def _pairs(samples: Mapping[str, Sample]) -> dict[Pair, float | None]:
    """p of every pair, not yet corrected; None where it cannot be tested.

    Where all rows have the same seeds and items, which is usual, many pairs are judged at once;
    the numbers are those of `difference`.
    """
    names = list(samples)
    first = samples[names[0]]
    if len(first.items) < 2 or any(
        one.seeds != first.seeds or one.items != first.items for one in samples.values()
    ):
        return {(a, b): _p(samples[a], samples[b]) for a, b in combinations(names, 2)}
    values_RSI = np.stack([samples[name].values for name in names])
    left, right = np.triu_indices(len(names), 1)
    found: dict[Pair, float | None] = {}
    for start in range(0, len(left), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        p = p_value(crossed(values_RSI[left[some]] - values_RSI[right[some]]))
        for a, b, value in zip(left[some], right[some], p, strict=True):
            found[names[a], names[b]] = None if np.isnan(value) else float(value)
    return found


def _p(one: Sample, other: Sample) -> float | None:
    if len(set(one.seeds) & set(other.seeds)) < FEW:
        return None
    return difference(*_alike(one, other)).p


def _alike(one: Sample, other: Sample) -> tuple[Sample, Sample]:
    """By seed alone where only one of the two has items, or not one of them in common."""
    if set(one.items) & set(other.items):
        return one, other
    return _by_seed(one), _by_seed(other)


def _by_seed(sample: Sample) -> Sample:
    return Sample(sample.seeds, (), sample.values.mean(axis=1)) if sample.items else sample


def _marked(
    rows: Sequence[Row],
    place: int,
    rivals: Mapping[str, Sample],
    adjusted: Mapping[Pair, float | None],
    level: float,
) -> tuple[Row, ...]:
    """The highest mean is marked only if a test of it against another row was possible."""
    best = max(rivals, key=lambda label: rivals[label].mean)  # equal means: the first row
    p = {label: adjusted.get((best, label), adjusted.get((label, best))) for label in rivals}
    if all(value is None for value in p.values()):
        return tuple(rows)
    found = []
    for row in rows:
        cell = row.cells[place]
        if cell is not None and row.method is not None and row.label in rivals:
            one = p[row.label]
            if row.label == best:
                cell = replace(cell, best=True)
            elif one is not None:
                cell = _compared(cell, rivals[best], one, level)
        found.append(replace(row, cells=(*row.cells[:place], cell, *row.cells[place + 1 :])))
    return tuple(found)


def _compared(cell: Cell, best: Sample, p: float, level: float) -> Cell:
    """A row that has the lower mean but not on the seeds in common is not shown to be lower."""
    behind = difference(*_alike(best, cell.sample), level)
    return replace(cell, tied=p >= 1 - level or behind.mean <= 0, behind=behind, p=p)
