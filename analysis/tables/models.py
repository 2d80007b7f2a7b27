"""Single models: which of them differ on the questions they answered.

A row with one seed or two, a start model and a checkpoint that was not trained here say nothing of
methods and are neither best nor tied. What is compared, in every column with a better end: the
single models of a scenario with each other and with every checkpoint, and the checkpoints with
each other. Every pair is one test over questions, made once; all of a section are one family under
Holm's correction, apart from the tests of methods: no pair is in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, groupby

from tiebreak.track.record_format import CHECKPOINT
from tiebreak_analysis.questions import MIN_QUESTIONS, model_difference, paired, sign_p
from tiebreak_analysis.statistics import MIN_SEEDS, Difference, Sample, mean_interval
from tiebreak_analysis.tables.averages import AVERAGE
from tiebreak_analysis.tables.table import (
    LEVEL,
    Cell,
    Column,
    ModelPair,
    ModelTests,
    OfModels,
    Row,
    Section,
    counted,
)
from tiebreak_analysis.tables.ties import MANY, Block, Question, asked_of, corrected

Model = tuple[int, str]
"""Number of its block and label of its row."""
Pairs = Mapping[tuple[Model, Model], float | None]
"""Two models -> the p of their test; None where it could not be made."""


def models_judged(
    blocks: Sequence[Block], columns: Sequence[Column]
) -> tuple[list[list[Row]], ModelTests]:
    """The blocks' rows with `models` in their cells, and what the tests found."""
    judged = _Judged(blocks, columns)
    rows = [
        [replace(row, cells=tuple(judged.cells(at, row))) for row in rows]
        for at, (rows, _) in enumerate(blocks)
    ]
    return rows, judged.tests()


@dataclass(frozen=True)
class _Judged:
    """The single models of one section and the tests between them."""

    blocks: Sequence[Block]
    columns: Sequence[Column]

    @cached_property
    def given(self) -> frozenset[int]:
        """The blocks of checkpoints that were not trained here."""
        return frozenset(at for at, (rows, _) in enumerate(self.blocks) if not _trained(rows))

    @cached_property
    def samples(self) -> list[dict[Model, Sample]]:
        """By column, what each single model has there."""
        return [
            {
                (at, row.label): cell.sample
                for at, (rows, _) in enumerate(self.blocks)
                for row in rows
                if (cell := row.cells[place]) is not None and few_seeds(cell)
            }
            for place in range(len(self.columns))
        ]

    def rivals(self, at: int, place: int) -> dict[Model, Sample]:
        """The block's own single models and, beside trained ones, every checkpoint."""
        there = self.samples[place]
        wanted = {at} if at in self.given else {at, *self.given}
        found = {model: sample for model, sample in there.items() if model[0] in wanted}
        return found if len(found) > 1 and any(block == at for block, _ in found) else {}

    @cached_property
    def asked(self) -> dict[tuple[int, int], tuple[Question, dict[Model, Sample]]]:
        return asked_of(self.blocks, self.columns, self.rivals)

    @cached_property
    def found(self) -> tuple[dict[Question, dict[tuple[Model, Model], float | None]], int, int]:
        return corrected(self.asked, partial(_pairs, self.given), _tested)

    @cached_property
    def against(self) -> dict[tuple[str, Model], dict[Model, float | None]]:
        """What is compared, a model -> the models it was tested against, with p."""
        against: dict[tuple[str, Model], dict[Model, float | None]] = defaultdict(dict)
        for (_, what), pairs in self.found[0].items():
            for (a, b), p in pairs.items():
                against[what, a][b] = against[what, b][a] = p
        return against

    def cells(self, at: int, row: Row) -> Iterator[Cell | None]:
        for place, (column, cell) in enumerate(zip(self.columns, row.cells, strict=True)):
            question, _ = self.asked.get((at, place), ((at, column.key), {}))
            there = self.samples[place]
            against = self.against.get((question[1], (at, row.label)), {})
            against = {model: p for model, p in against.items() if model in there}
            cell = _with_interval(cell)
            if cell is not None and against and column.sign:
                cell = _marked(cell, (at, row.label), column.sign, there, against)
            yield cell

    def tests(self) -> ModelTests:
        by_question, number, too_many = self.found
        told = []
        for (at, place), (question, rivals) in self.asked.items():
            column = self.columns[place]
            if question[1] == column.key:  # a gain from one start is its metric's question
                tested = by_question.get(question, {})
                told += self._differing(at, column, rivals, tested)
        scenarios = {
            at: self.blocks[at][0][0].scenario
            for (at, _), pairs in sorted(by_question.items())
            if any(p is not None for p in pairs.values())
        }
        return ModelTests(tuple(told), number, too_many, tuple(scenarios.values()))

    def _differing(
        self, at: int, column: Column, rivals: Mapping[Model, Sample], tested: Pairs
    ) -> Iterator[ModelPair]:
        """The best first; in the order of their means."""
        order = sorted(rivals, key=lambda model: -column.sign * rivals[model].mean)
        for better, worse in combinations(order, 2):
            p = tested.get((better, worse), tested.get((worse, better)))
            if p is None or p >= 1 - LEVEL:
                continue
            apart = model_difference(rivals[better], rivals[worse], LEVEL)
            if apart is not None and _shown(p, apart, column.sign):
                names = [label if block == at else f"{label} ({CHECKPOINT})"
                         for block, label in (better, worse)]  # fmt: skip
                yield ModelPair(self.blocks[at][0][0].scenario, column.key, *names, apart, p)


def model_words(section: Section) -> Iterator[tuple[str, str]]:
    """Each scenario in which single models were compared, and which of these differ, in words."""
    for scenario in section.models.scenarios:
        pairs = [pair for pair in section.models.pairs if pair.scenario == scenario]
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


def _trained(rows: Sequence[Row]) -> bool:
    return all(row.trained for row in rows)


def _pairs(given: Collection[int], rivals: Mapping[Model, Sample]) -> list[tuple[Model, Model]]:
    """All of them; two checkpoints are compared in a block of their own, and nowhere else."""
    beside = any(block not in given for block, _ in rivals)
    return [
        (a, b)
        for a, b in combinations(rivals, 2)
        if not (beside and a[0] in given and b[0] in given)
    ]


def _tested(rivals: Mapping[Model, Sample], pairs: Sequence[tuple[Model, Model]]) -> Pairs:
    apart = {(a, b): paired(rivals[a], rivals[b]) for a, b in pairs}
    return {pair: None if one is None else sign_p(one) for pair, one in apart.items()}


def _with_interval(cell: Cell | None) -> Cell | None:
    if cell is None or not few_seeds(cell) or cell.interval.low is not None and cell.num_seeds < 2:
        return cell  # a start model or a checkpoint alone has an interval over items already
    return replace(cell, models=OfModels(mean_interval(cell.sample.values.mean(0), LEVEL)))


def _shown(p: float | None, apart: Difference | None, sign: int) -> bool:
    """Whether a test says that the first is better; the means of all questions do not decide where
    the common ones say otherwise."""
    return p is not None and p < 1 - LEVEL and apart is not None and sign * apart.mean > 0


def _marked(
    cell: Cell,
    model: Model,
    sign: int,
    there: Mapping[Model, Sample],
    against: Mapping[Model, float | None],
) -> Cell:
    """The cell with how far it is behind the best mean of what it was compared with."""
    compared = [one for one in there if one == model or one in against]
    best = max(compared, key=lambda one: sign * there[one].mean)  # equal means: the first row
    models = cell.models or OfModels(mean_interval(cell.sample.values.mean(0), LEVEL))
    if best == model:
        return replace(cell, models=replace(models, highest=True))
    p = against[best]
    behind = None if p is None else model_difference(there[best], cell.sample, LEVEL)
    differs = _shown(p, behind, sign)
    return replace(cell, models=replace(models, behind=behind, p=p, differs=differs))
