"""alpaca_eval and arena_hard: answers to a file of questions of one turn, judged against others'.

The others are a file's (evaluation.alpaca_eval_baseline, evaluation.arena_hard_baseline), or the
start model's. What a model answers (`NAME_answers`) and who wins (`NAME`) are evaluators of their
own: another judge judges the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tiebreak.stages.evaluators.answers import divides
from tiebreak.stages.evaluators.evaluator import OF_ANSWERS, Evaluator, Row, mean
from tiebreak.stages.evaluators.judged import (
    calls_of_file,
    cost_of_answers,
    cost_of_judging,
    files_and_judge,
    files_of_questions,
    single_answers,
)
from tiebreak.stages.evaluators.wins import compared_with, win_files, win_metrics

NAMES = ("alpaca_eval", "arena_hard")


def _tokens(name: str, rows: Sequence[Row]) -> dict[str, float]:
    return {f"{name}/tokens": mean([row["tokens"] for row in rows])}


def _answers(name: str) -> Evaluator:
    return Evaluator(
        f"{name}_answers", partial(single_answers, name=name), partial(_tokens, name),
        ignores=frozenset({"num_prompts"}), more=partial(files_of_questions, name=name),
        cost=cost_of_answers(name), divides=divides,
    )  # fmt: skip


def _wins(name: str) -> Evaluator:
    answers = f"{name}_answers"
    return Evaluator(
        name, partial(compared_with, name=name, answers=answers), partial(win_metrics, name),
        files=partial(win_files, name), needs=(answers,), ignores=OF_ANSWERS, reads_model=False,
        more=partial(files_and_judge, name=name), against_start=True, calls=calls_of_file(name),
        cost=cost_of_judging(name),
    )  # fmt: skip


EVALUATORS = tuple(make(name) for name in NAMES for make in (_answers, _wins))
