"""arena_hard: wins of a model's answers to the questions of Arena-Hard over a baseline's.

The baseline is a file of answers (evaluation.arena_hard_baseline), or the start model.
"""

from __future__ import annotations

from functools import partial

from tiebreak.stages.evaluators.evaluator import OF_ANSWERS, Evaluator
from tiebreak.stages.evaluators.judged import calls_of_file, cost_of_judging, files_and_judge
from tiebreak.stages.evaluators.wins import compared_with, win_files, win_metrics

NAME = "arena_hard"
ANSWERS = "arena_hard_answers"

EVALUATOR = Evaluator(
    NAME, partial(compared_with, name=NAME, answers=ANSWERS), partial(win_metrics, NAME),
    files=partial(win_files, NAME), needs=(ANSWERS,), ignores=OF_ANSWERS, reads_model=False,
    more=partial(files_and_judge, name=NAME), against_start=True, calls=calls_of_file(NAME),
    cost=cost_of_judging(NAME),
)  # fmt: skip
