"""benchmark: the questions of an lm-eval task, each (model, task) an artefact of its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from tiebreak.config.schema import RunConfig
from tiebreak.errors import UserError
from tiebreak.harness.tasks import benchmarks_of, identity
from tiebreak.stages.evaluators.evaluator import Evaluator, Row, RunSize, Subject, Work, mean
from tiebreak.track.record_format import items_file


class Size(NamedTuple):
    """What a benchmark has: questions, and tokens, about, of a question with its prompt, of all its
    choices, of an example before it, and of an answer where one is written. sets: how often the
    examples are others; 0: for each question."""

    questions: int
    question: int
    choices: int
    example: int
    answer: int = 0
    sets: int = 0


SIZES = {
    "arc_easy": Size(2376, 30, 20, 45),
    "arc_challenge": Size(1172, 33, 26, 50),
    "hellaswag": Size(10042, 55, 110, 85),
    "winogrande": Size(1267, 18, 20, 28),
    "piqa": Size(1838, 15, 52, 45),
    "bigbench_sports_understanding_multiple_choice": Size(1000, 10, 4, 14),
    "bigbench_causal_judgment_multiple_choice": Size(190, 170, 4, 175),
    "bigbench_formal_fallacies_syllogisms_negation_multiple_choice": Size(14200, 130, 6, 135),
    "gsm8k": Size(1319, 65, 0, 160, answer=120),
    "truthfulqa_mc1": Size(817, 14, 50, 0),
    "truthfulqa_mc2": Size(817, 14, 75, 0),
    "mmlu": Size(14042, 80, 4, 90, sets=57),
    "openbookqa": Size(500, 14, 14, 22),
    "boolq": Size(3270, 135, 2, 140),
    "ifeval": Size(541, 50, 0, 0, answer=400),
}


@functools.cache
def benchmark(task: str) -> Evaluator:
    """The evaluator that asks the questions of one lm-eval task or group."""
    return Evaluator(
        task,
        functools.partial(_items, task),
        functools.partial(_metrics, task),
        files=functools.partial(_files, task),
        asks=functools.partial(_asks, task),
        cost=functools.partial(_cost, SIZES[task], task) if task in SIZES else None,
        divides=lambda run: True,
    )


def _asks(task: str, run: RunConfig) -> dict[str, Any]:
    kwargs = run.model.chat_template_kwargs if run.evaluation.chat_template else {}
    template = {"chat_template_kwargs": dict(kwargs)} if kwargs else {}
    return identity(benchmarks_of(run.evaluation)[task], run.evaluation) | template


def _items(task: str, subject: Subject) -> list[Row]:
    """A row per question, see `harness.ask.ask`."""
    from tiebreak.engine.models import autocast
    from tiebreak.harness.ask import ask, quietly
    from tiebreak.harness.model import PrefixLM

    run, evaluation = subject.run, subject.run.evaluation
    if evaluation.chat_template and subject.tokenizer.chat_template is None:
        raise UserError(
            f"evaluation.chat_template=true: the tokenizer of model={run.model.name} has no chat "
            "template; give model.chat_template=FILE.jinja or the name of one (docs/data.md), or "
            "evaluation.chat_template=false"
        )
    with quietly(), autocast(run.train.precision):
        lm = PrefixLM(
            subject.model, subject.tokenizer, evaluation.batch_size, subject.kept(),
            head_chunk=run.train.execution.head_chunk, what=task,
            template=run.model.chat_template_kwargs,
        )  # fmt: skip
        rows = ask(
            lm, benchmarks_of(evaluation)[task], questions=evaluation.questions,
            chat_template=evaluation.chat_template, mirror=evaluation.mirror,
        )  # fmt: skip
    subject.how |= lm.told()
    return rows


def _metrics(task: str, rows: Sequence[Row]) -> dict[str, float]:
    return {f"{task}/{name}": mean([row["scores"][name] for row in rows])
            for name in rows[0]["scores"]}  # fmt: skip


def _files(task: str, start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {"id": [row["id"] for row in policy]}
    if "subject" in policy[0]:
        columns["subject"] = [row["subject"] for row in policy]
    for name in policy[0]["scores"]:
        columns[f"{name}/before"] = [row["scores"][name] for row in start]
        columns[f"{name}/after"] = [row["scores"][name] for row in policy]
    return {items_file(task): columns}


def _cost(has: Size, task: str, size: RunSize, of_policy: bool) -> Work:
    """Every token of the tree of requests once; or prompt and answer token by token."""
    run = size.run
    shots = benchmarks_of(run.evaluation)[task].shots or 0
    number = min(has.questions, run.evaluation.questions or has.questions)
    before = shots * has.example
    shared = has.sets * before if has.sets else number * before
    if has.answer:
        return Work(written=number * (before + has.question + has.answer), disk=number * 600)
    disk = number * (300 + 4 * has.question)  # the text of the question too
    return Work(scored=shared + number * (has.question + has.choices), disk=disk)
