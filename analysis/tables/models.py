"""Rows with one seed or two: which of these very models differ on the questions they answered.

Such rows say nothing of methods and are neither best nor tied. Every pair of them, in every
scenario and every column with a better end, is one test over questions; all of them are one family
under Holm's correction, apart from the tests of methods: no pair is in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, groupby

from tiebreak_analysis.questions import MIN_QUESTIONS, model_difference, paired, sign_p
from tiebreak_analysis.statistics import MIN_SEEDS, Difference, Sample, mean_interval
from tiebreak_analysis.tables.averages import AVERAGE
from tiebreak_analysis.tables.table import (
    LEVEL,
    Cell,
    Column,
    ModelPair,
    OfModels,
    Row,
    Section,
    counted,
)
from tiebreak_analysis.tables.ties import MANY, Block, Pair, asked_of, corrected


def models_judged(
    blocks: Sequence[Block], columns: Sequence[Column]
) -> tuple[list[list[Row]], list[ModelPair], int, int]:
    """The blocks' rows with `models` in their cells, the pairs that differ, how many were tested,
    and how many are too many to be."""
    asked = asked_of(blocks, columns, _rivals)
    by_question, num_tests, too_many = corrected(asked, _pairs)
    done, told = [], []
    for at, (rows, _) in enumerate(blocks):
        marked = [replace(row, cells=tuple(map(_with_interval, row.cells))) for row in rows]
        for place, column in enumerate(columns):
            question, rivals = asked.get((at, place), (None, {}))
            if question is not None and question in by_question:
                if question[1] == column.key:  # a gain from one start is its metric's question
                    pairs = _differing(column, rivals, by_question[question])
                    told += [replace(pair, scenario=rows[0].scenario) for pair in pairs]
                marked = _marked(marked, place, column.sign, rivals, by_question[question])
        done.append(marked)
    return done, told, num_tests, too_many


def model_words(section: Section) -> Iterator[tuple[str, str]]:
    """Each scenario with rows of too few seeds, and which of these models differ, in words."""
    tested = {
        row.scenario: None
        for row in section.rows
        for cell in row.cells
        if cell is not None and cell.models is not None and cell.models.p is not None
    }
    for scenario in tested:
        pairs = [pair for pair in section.model_pairs if pair.scenario == scenario]
        columns = {column.key: column for column in section.columns}
        order = [AVERAGE.key, *columns]
        pairs.sort(key=lambda pair: (order.index(pair.column), pair.p))
        these = "no two of these models are shown to differ on these questions"
        if pairs:
            each = "; ".join(
                f"in {_named(key)} {', '.join(_pair_words(pair, columns[key]) for pair in some)}"
                for key, some in groupby(pairs[:MANY], key=lambda pair: pair.column)
            )
            more = f"; and {counted(len(pairs) - MANY, 'more pair')}" if len(pairs) > MANY else ""
            what = "these two models differ" if len(pairs) == 1 else "these pairs of models differ"
            these = f"{what} on these questions: {each}{more}"
        yield scenario, f"{these}; nothing is said of training again"


def _named(key: str) -> str:
    return key.replace("gain:", "gain in ")


def _pair_words(pair: ModelPair, column: Column) -> str:
    gap, unit = pair.difference, f" {column.unit_of_difference}".rstrip()
    assert gap.low is not None and gap.high is not None
    low, high = sorted((column.sign * gap.low, column.sign * gap.high))
    ends = f"[{column.text(low)}, {column.text(high)}]"
    word = "above" if column.sign > 0 else "below"
    return f"{pair.better} {word} {pair.worse} by {column.text(abs(gap.mean))}{unit} {ends}"


def few_seeds(cell: Cell | None) -> bool:
    """Whether it has too few seeds to be compared as a method, and questions enough."""
    return cell is not None and cell.num_seeds < MIN_SEEDS and cell.num_items >= MIN_QUESTIONS


def _rivals(rows: Sequence[Row], place: int) -> dict[str, Sample]:
    cells = [(row.label, row.cells[place]) for row in rows if row.method]
    there = {name: cell.sample for name, cell in cells if cell is not None and few_seeds(cell)}
    return there if len(there) > 1 else {}


def _pairs(samples: Mapping[str, Sample]) -> dict[Pair, float | None]:
    apart = {(a, b): paired(samples[a], samples[b]) for a, b in combinations(samples, 2)}
    return {pair: None if one is None else sign_p(one) for pair, one in apart.items()}


def _with_interval(cell: Cell | None) -> Cell | None:
    if cell is None or not few_seeds(cell) or cell.interval.low is not None and cell.num_seeds < 2:
        return cell  # a single start model has an interval over items already
    return replace(cell, models=OfModels(mean_interval(cell.sample.values.mean(0), LEVEL)))


def _differing(
    column: Column, rivals: Mapping[str, Sample], adjusted: Mapping[Pair, float | None]
) -> list[ModelPair]:
    """The best first; in the order of their means."""
    order = sorted(rivals, key=lambda label: -column.sign * rivals[label].mean)
    told = []
    for better, worse in combinations(order, 2):
        p = adjusted.get((better, worse), adjusted.get((worse, better)))
        if p is None or p >= 1 - LEVEL:
            continue
        apart = model_difference(rivals[better], rivals[worse], LEVEL)
        if apart is not None and _shown(p, apart, column.sign):
            told.append(ModelPair("", column.key, better, worse, apart, p))
    return told


def _shown(p: float | None, apart: Difference | None, sign: int) -> bool:
    """Whether a test says that the first is better; the means of all questions do not decide where
    the common ones say otherwise."""
    return p is not None and p < 1 - LEVEL and apart is not None and sign * apart.mean > 0


def _marked(
    rows: Sequence[Row],
    place: int,
    sign: int,
    rivals: Mapping[str, Sample],
    adjusted: Mapping[Pair, float | None],
) -> list[Row]:
    best = max(rivals, key=lambda label: sign * rivals[label].mean)  # equal means: the first row
    marked = []
    for row in rows:
        cell = row.cells[place]
        if cell is not None and cell.models is not None and row.method and row.label in rivals:
            p = adjusted.get((best, row.label), adjusted.get((row.label, best)))
            behind = None if p is None else model_difference(rivals[best], cell.sample, LEVEL)
            of_models = replace(
                cell.models, highest=row.label == best, behind=behind, p=p,
                differs=_shown(p, behind, sign),
            )  # fmt: skip
            cell = replace(cell, models=of_models)
        marked.append(replace(row, cells=(*row.cells[:place], cell, *row.cells[place + 1 :])))
    return marked
