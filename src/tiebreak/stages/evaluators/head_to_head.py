"""head_to_head: the policy's answers to held-out prompts against the start model's, judged.

For a small model the only judged number that is not at the floor.
"""

from __future__ import annotations

from functools import partial

from tiebreak.config.schema import RunConfig
from tiebreak.stages.evaluators.evaluator import (
    OF_ANSWERS,
    Evaluator,
    Row,
    RunSize,
    Subject,
    Work,
)
from tiebreak.stages.evaluators.judged import ORDERS, TEMPLATE_TOKENS, identity, repeated
from tiebreak.stages.evaluators.wins import win_files, win_metrics, wins

NAME = "head_to_head"
PROMPT_TOKENS = 200  # where nobody has counted them


def items(subject: Subject) -> list[Row]:
    """A row per prompt; none for the start model, with which the others are compared."""
    if not subject.items_start:
        return []
    before = [row["response"] for row in subject.items_start["generations"]]
    return wins(subject, subject.items["generations"], before)


def calls(run: RunConfig, of_policy: bool) -> tuple[float, float]:
    """(calls, tokens sent) for one model; the start model is compared with nobody."""
    if not of_policy:
        return 0.0, 0.0
    evaluation = run.evaluation
    each = PROMPT_TOKENS + 2 * evaluation.max_new_tokens + TEMPLATE_TOKENS
    number = repeated(run, evaluation.num_prompts) * ORDERS * evaluation.num_prompts
    return number, number * each


def cost(size: RunSize, of_policy: bool) -> Work:
    """The judge's own time is not known before it has answered."""
    return Work(disk=(2500 if of_policy else 1) * size.prompts())


EVALUATOR = Evaluator(
    NAME, items, partial(win_metrics, NAME), files=partial(win_files, NAME),
    needs=("generations",), ignores=OF_ANSWERS, reads_model=False, cost=cost,
    more=lambda run: {"judge": identity(run)}, against_start=True, calls=calls,
)  # fmt: skip
