"""Which method is best, which are tied with it, which are shown to be worse, and that in words.

Every pair of methods, in every scenario and every column with a better end, is one test on common
seeds and items; all tests of a section are one family under Holm's correction. All pairs, not only
those with the best: which mean is best is itself read off the data. A gain over a start model that
both methods share is the same comparison as the metric, so it is tested once. Rows with fewer than
three seeds take no part: they are neither best nor tied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TypeVar

import numpy as np

from tiebreak_analysis.statistics import MIN_SEEDS, Sample, crossed, difference, holm, p_value
from tiebreak_analysis.tables.table import LEVEL, Cell, Column, Row, Verdict

MOST = 20_000  # pairs in a section; beyond, no correction would leave anything to find
AT_ONCE = 64  # pairs judged together: the memory of one batch stays in the tens of MB
MANY = 6  # names in a verdict; beyond, they are counted instead

Block = tuple[Sequence[Row], bool]
"""The rows of one scenario, and whether all of them share a start."""
Question = tuple[int, str]  # block, what is compared
Pair = tuple[str, str]  # row labels
Name = TypeVar("Name", str, tuple[int, str])  # of what is compared: row label, or block and label


def judged(
    blocks: Sequence[Block], columns: Sequence[Column]
) -> tuple[list[tuple[Row, ...]], list[Verdict], int]:
    """Compare the methods inside each block, at p < 1 - LEVEL.

    The result: the blocks' rows with `best`, `tied`, `behind` and `p` in their cells, a verdict for
    each scenario that has one, and the number of tests.
    """
    asked = asked_of(blocks, columns, lambda at, place: _rivals(blocks[at][0], place))
    by_question, num_tests, too_many = corrected(asked, _pairs, _tested)
    marked = []
    for at, (rows, _) in enumerate(blocks):
        for place, column in enumerate(columns):
            if (at, place) in asked and not too_many:
                question, rivals = asked[at, place]
                rows = _marked(rows, place, column.sign, rivals, by_question[question])
        marked.append(tuple(rows))
    verdicts = [_verdict(rows, columns, too_many) for rows in marked]
    return marked, [verdict for verdict in verdicts if verdict is not None], num_tests


def corrected(
    asked: Mapping[tuple[int, int], tuple[Question, Mapping[Name, Sample]]],
    pairs_of: Callable[[Mapping[Name, Sample]], Sequence[tuple[Name, Name]]],
    test: Callable[
        [Mapping[Name, Sample], Sequence[tuple[Name, Name]]],
        Mapping[tuple[Name, Name], float | None],
    ],
) -> tuple[dict[Question, dict[tuple[Name, Name], float | None]], int, int]:
    """Each question's pairs with p after Holm's correction over all of them; the number of tests;
    and the number of pairs, where they are too many and none was tested."""
    questions: dict[Question, Mapping[Name, Sample]] = {}
    for question, rivals in asked.values():  # of a metric and its gain the metric, which is first
        questions.setdefault(question, rivals)
    pairs = {question: pairs_of(rivals) for question, rivals in questions.items()}
    num_pairs = sum(map(len, pairs.values()))
    too_many = num_pairs if num_pairs > MOST else 0
    p = {
        (question, pair): value
        for question, rivals in questions.items()
        for pair, value in ({} if too_many else test(rivals, pairs[question])).items()
    }
    by_question: dict[Question, dict[tuple[Name, Name], float | None]] = {}
    for (question, pair), value in zip(p, holm(list(p.values())), strict=True):
        by_question.setdefault(question, {})[pair] = value
    return by_question, sum(value is not None for value in p.values()), too_many


def _rivals(rows: Sequence[Row], place: int) -> dict[str, Sample]:
    """Row label -> sample of the rows to compare; none unless there are two methods or more."""
    present = [
        (row, cell)
        for row in rows
        if row.method and (cell := row.cells[place]) and cell.num_seeds >= MIN_SEEDS
    ]
    if len({row.method for row, _ in present}) < 2:
        return {}
    return {row.label: cell.sample for row, cell in present}


def asked_of(
    blocks: Sequence[Block],
    columns: Sequence[Column],
    rivals_of: Callable[[int, int], dict[Name, Sample]],
) -> dict[tuple[int, int], tuple[Question, dict[Name, Sample]]]:
    """(block, column) -> what is compared there, and how the question is called: a metric and its
    gain may be one. rivals_of: block, column -> samples to compare."""
    keys, asked = {column.key for column in columns if column.sign}, {}
    for at, (_, one_start) in enumerate(blocks):
        for place, column in enumerate(columns):
            if column.sign and (rivals := rivals_of(at, place)):
                as_metric = one_start and column.metric in keys
                asked[at, place] = (at, column.metric if as_metric else column.key), rivals
    return asked


def _pairs(samples: Iterable[str]) -> list[Pair]:
    return list(combinations(samples, 2))


def _tested(samples: Mapping[str, Sample], pairs: Sequence[Pair]) -> dict[Pair, float | None]:
    """p of every pair, not yet corrected; None where it cannot be tested.

    Where all rows have the same seeds and items, which is usual, many pairs are judged at once;
    the numbers are those of `difference`.
    """
    place = {name: at for at, name in enumerate(samples)}
    first = next(iter(samples.values()))
    if len(first.items) < 2 or any(
        sample.seeds != first.seeds or sample.items != first.items for sample in samples.values()
    ):
        return {(a, b): _p(samples[a], samples[b]) for a, b in pairs}
    values_RSI = np.stack([sample.values for sample in samples.values()])
    tested: dict[Pair, float | None] = {}
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        left, right = ([place[name] for name in side] for side in zip(*some, strict=True))
        p = p_value(crossed(values_RSI[left] - values_RSI[right]))
        tested |= {
            pair: None if np.isnan(one) else float(one) for pair, one in zip(some, p, strict=True)
        }
    return tested


def _p(one: Sample, other: Sample) -> float | None:
    if len(set(one.seeds) & set(other.seeds)) < MIN_SEEDS:
        return None
    return difference(*_alike(one, other)).p


def _alike(one: Sample, other: Sample) -> tuple[Sample, Sample]:
    """Both by seed alone where only one of them has items, or not one of them in common."""
    if set(one.items) & set(other.items):
        return one, other
    by_seed, other_by_seed = (
        Sample(s.seeds, (), s.values.mean(axis=1)) if s.items else s for s in (one, other)
    )
    return by_seed, other_by_seed


def _marked(
    rows: Sequence[Row],
    place: int,
    sign: int,
    rivals: Mapping[str, Sample],
    adjusted: Mapping[Pair, float | None],
) -> list[Row]:
    """The best mean is marked only if a test of it against another row was possible."""
    best = max(rivals, key=lambda label: sign * rivals[label].mean)  # equal means: the first row
    p = {label: adjusted.get((best, label), adjusted.get((label, best))) for label in rivals}
    if all(value is None for value in p.values()):
        return list(rows)
    marked = []
    for row in rows:
        cell = row.cells[place]
        if cell is not None and row.method is not None and row.label in rivals:
            value = p[row.label]
            if row.label == best:
                cell = replace(cell, best=True)
            elif value is not None:
                behind = difference(*_alike(rivals[best], cell.sample), LEVEL)
                # the worse mean, but not on the seeds in common: not shown to be worse
                tied = value >= 1 - LEVEL or sign * behind.mean <= 0
                cell = replace(cell, tied=tied, behind=behind, p=value)
        marked.append(replace(row, cells=(*row.cells[:place], cell, *row.cells[place + 1 :])))
    return marked


def _verdict(rows: Sequence[Row], columns: Sequence[Column], too_many: int) -> Verdict | None:
    """One scenario in words, by the first column with a better end.

    None: fewer than two methods, or no such column. `too_many`: pairs that were not tested,
    because there are too many.
    """
    place = next((at for at, c in enumerate(columns) if c.sign and not c.gain), None)
    if place is None or not all(row.trained for row in rows):
        return None
    having = [(row, cell) for row in rows
              if row.method is not None and (cell := row.cells[place]) is not None]  # fmt: skip
    if len({row.method for row, _ in having}) < 2:
        return None
    column, scenario = columns[place], rows[0].scenario
    ranked = sorted(having, key=lambda pair: -column.sign * pair[1].interval.mean)
    best = next((row.label for row, cell in ranked if cell.best), None)
    tied = tuple(row.label for row, cell in ranked if cell.tied)
    worse = [(row, cell) for row, cell in ranked if cell.p is not None and not cell.tied]
    left = [(row, cell) for row, cell in ranked if cell.p is None and not cell.best]
    names = tuple(row.label for row, _ in left)
    if best is None:
        why = f"{too_many} pairs are too many to test" if too_many else _why(left)
        text = f"no verdict on {column.metric}: {why}"
        return Verdict(scenario, column.metric, text, None, untested=names)
    first = f"{_names((best, *tied))} tied for best" if tied else f"{best} has the best"
    parts = [f"{first} {column.metric}", *_worse(worse, column)]
    parts += [f"{_names(names)} not compared, {_why(left)}"] * bool(left)
    behind = tuple(row.label for row, _ in worse)
    return Verdict(scenario, column.metric, "; ".join(parts), best, tied, behind, names)


def _why(untested: Sequence[tuple[Row, Cell]]) -> str:
    if any(cell.num_seeds < MIN_SEEDS for _, cell in untested):
        return f"fewer than {MIN_SEEDS} seeds"
    return f"fewer than {MIN_SEEDS} seeds in common, or differences without any spread"


def _names(names: Sequence[str]) -> str:
    if len(names) <= MANY:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} others"


def _worse(rows: Sequence[tuple[Row, Cell]], column: Column) -> list[str]:
    """`cpo lower by 0.028 [0.010, 0.046]`; many rows are counted instead."""
    if not rows:
        return []
    word = "lower" if column.sign > 0 else "higher"
    unit = f" {column.unit_of_difference}" if column.unit_of_difference else ""
    gaps = [_gap(cell, column.sign) for _, cell in rows]
    if len(rows) > MANY:
        low, high = (column.text(end(mean for mean, _, _ in gaps)) for end in (min, max))
        return [f"{len(rows)} others {word} by {low} to {high}{unit}"]
    each = [
        f"{row.label} {word} by {column.text(mean)}{unit} [{column.text(low)}, {column.text(high)}]"
        for (row, _), (mean, low, high) in zip(rows, gaps, strict=True)
    ]
    return [", ".join(each)]


def _gap(cell: Cell, sign: int) -> tuple[float, float, float]:
    """How far a row is behind the best, with its interval; positive whichever end is better."""
    behind = cell.behind
    assert behind is not None and behind.low is not None and behind.high is not None
    low, high = sorted((sign * behind.low, sign * behind.high))
    return sign * behind.mean, low, high
