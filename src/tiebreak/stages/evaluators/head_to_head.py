"""head_to_head: the policy's answers to held-out prompts against the start model's, judged.

For a small model the only judged number that is not at the floor.
"""

from __future__ import annotations

from tiebreak.config.schema import RunConfig
from tiebreak.stages.evaluators.evaluator import (
    OF_ANSWERS,
    Evaluator,
    Row,
    RunSize,
    Subject,
    Work,
)
from tiebreak.stages.evaluators.judged import (
    ORDERS,
    TEMPLATE_TOKENS,
    identity,
    repeated,
    work_of_judge,
)
from tiebreak.stages.evaluators.wins import Contest

CONTEST = Contest("head_to_head")
PROMPT_TOKENS = 200  # where nobody has counted them


def items(subject: Subject) -> list[Row]:
    """A row per prompt; none for the start model, with which the others are compared."""
    if not subject.items_start:
        return []
    before = [(row["response"],) for row in subject.items_start["generations"]]
    return CONTEST.rows(subject, subject.items["generations"], before)


def calls(run: RunConfig, of_policy: bool) -> tuple[float, float]:
    """(calls, tokens sent) for one model; the start model is compared with nobody."""
    if not of_policy:
        return 0.0, 0.0
    evaluation = run.evaluation
    each = PROMPT_TOKENS + 2 * evaluation.max_new_tokens + TEMPLATE_TOKENS
    number = repeated(run, evaluation.num_prompts) * ORDERS * evaluation.num_prompts
    return number, number * each


def cost(size: RunSize, of_policy: bool) -> Work:
    disk = (2500 if of_policy else 1) * size.prompts()
    return work_of_judge(size.run, *calls(size.run, of_policy), disk)


EVALUATOR = Evaluator(
    CONTEST.name, items, CONTEST.metrics, files=CONTEST.files, needs=("generations",),
    ignores=OF_ANSWERS, reads_model=False, cost=cost,
    more=lambda run: {"judge": identity(run)}, against_start=True, calls=calls,
)  # fmt: skip
