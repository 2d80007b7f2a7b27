"""arena_hard_answers: what a model answers to the questions of Arena-Hard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tiebreak.stages.evaluators.evaluator import Evaluator, Row, mean
from tiebreak.stages.evaluators.judged import (
    cost_of_answers,
    files_of_questions,
    single_answers,
)

QUESTIONS = "arena_hard"


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {"arena_hard/tokens": mean([row["tokens"] for row in rows])}


EVALUATOR = Evaluator(
    "arena_hard_answers", partial(single_answers, name=QUESTIONS), metrics,
    ignores=frozenset({"num_prompts"}), more=partial(files_of_questions, name=QUESTIONS),
    cost=cost_of_answers(QUESTIONS),
)  # fmt: skip
