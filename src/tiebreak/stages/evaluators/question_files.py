"""alpaca_eval, arena_hard and mt_bench_pairwise: answers to a file of questions, judged against
others'.

The others are a file's (evaluation.NAME_baseline), or the start model's. What a model answers
(`NAME_answers`) and who wins are evaluators of their own: another judge judges the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.judges.judge import Form
from tiebreak.judges.prompts import version_of
from tiebreak.judges.questions import Asked, content_of, read_answers
from tiebreak.metrics import ARENA_HARD_CATEGORIES, MT_BENCH_CATEGORIES
from tiebreak.stages.evaluators.answers import divides
from tiebreak.stages.evaluators.evaluator import OF_ANSWERS, Evaluator, Row, Subject, mean
from tiebreak.stages.evaluators.judged import (
    baseline_of,
    calls_of_file,
    cost_of_answers,
    cost_of_judging,
    files_and_judge,
    files_of_questions,
    single_answers,
)
from tiebreak.stages.evaluators.wins import Contest, answers_of, turns_of

FIVE_VERDICTS = 2  # the version of arena_hard that asks for them


def _tokens(name: str, rows: Sequence[Row]) -> dict[str, float]:
    return {f"{name}/tokens": mean([row["tokens"] for row in rows])}


def _answers(name: str) -> Evaluator:
    return Evaluator(
        f"{name}_answers", partial(single_answers, name=name), partial(_tokens, name),
        ignores=frozenset({"num_prompts"}), more=partial(files_of_questions, name=name),
        cost=cost_of_answers(name), divides=divides,
    )  # fmt: skip


def _wins(contest: Contest, of: str, version: int = 1) -> Evaluator:
    """of: the questions, and what their answers and their baseline are called by."""
    answers, calls = f"{of}_answers", calls_of_file(of, contest.turns)

    def items(subject: Subject) -> list[Row]:
        """A row per question; none where the model is the one that the others are compared with."""
        own, baseline = subject.items[answers], baseline_of(subject.run, of)
        if baseline is not None:
            asked = [Asked(str(row["id"]), turns_of(row), "") for row in own]
            return contest.rows(subject, own, read_answers(baseline, asked))
        if not subject.items_start:
            return []
        return contest.rows(subject, own, list(map(answers_of, subject.items_start[answers])))

    return Evaluator(
        contest.name, items, contest.metrics, files=contest.files, needs=(answers,),
        ignores=OF_ANSWERS, reads_model=False, more=partial(_more, contest=contest, of=of),
        against_start=True, calls=calls, cost=cost_of_judging(calls, of), version=version,
    )  # fmt: skip


def _more(run: RunConfig, contest: Contest, of: str) -> dict[str, Any]:
    baseline = baseline_of(run, of)
    return {
        **files_and_judge(run, of),
        **({"baseline": content_of(baseline)} if baseline else {}),
        **({} if contest.form is Form.COMPARE else {"wording": version_of(contest.form)}),
    }


ALPACA_EVAL = Contest("alpaca_eval")
ARENA_HARD = Contest("arena_hard", Form.FIVE, ARENA_HARD_CATEGORIES)
MT_BENCH = Contest("mt_bench_pairwise", Form.CONVERSATIONS, MT_BENCH_CATEGORIES, turns=2)
EVALUATORS = (
    _answers("alpaca_eval"), _wins(ALPACA_EVAL, "alpaca_eval"), _answers("arena_hard"),
    _wins(ARENA_HARD, "arena_hard", FIVE_VERDICTS), _wins(MT_BENCH, "mt_bench"),
)  # fmt: skip
