"""benchmark: the questions of an lm-eval task, each (model, task) an artefact of its own."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.errors import UserError
from tiebreak.harness.tasks import benchmarks_of, identity
from tiebreak.stages.evaluators.evaluator import Evaluator, Row, Subject, mean
from tiebreak.track.record_format import items_file

KEPT = "kept"  # the folder of answers while a benchmark is under way


@functools.cache
def benchmark(task: str) -> Evaluator:
    """The evaluator that asks the questions of one lm-eval task or group."""
    return Evaluator(
        task,
        functools.partial(_items, task),
        functools.partial(_metrics, task),
        files=functools.partial(_files, task),
        asks=functools.partial(_asks, task),
        scratch=(KEPT,),
    )


def _asks(task: str, run: RunConfig) -> dict[str, Any]:
    return identity(benchmarks_of(run.evaluation)[task], run.evaluation)


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
    with tempfile.TemporaryDirectory() as elsewhere:
        kept = (subject.work or Path(elsewhere)) / KEPT
        kept.mkdir(exist_ok=True)
        with quietly(), autocast(run.train.precision):
            lm = PrefixLM(
                subject.model, subject.tokenizer, evaluation.batch_size, kept / "answers.jsonl",
                head_chunk=run.train.execution.head_chunk, what=task,
            )  # fmt: skip
            return ask(
                lm, benchmarks_of(evaluation)[task], questions=evaluation.questions,
                chat_template=evaluation.chat_template, mirror=evaluation.mirror,
            )  # fmt: skip


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
