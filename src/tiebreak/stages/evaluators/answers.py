"""Answers that a model writes to prompts, for every evaluator that has some."""

from __future__ import annotations

from collections.abc import Sequence

from tiebreak.stages.evaluators.evaluator import Subject
from tiebreak.stages.tokens import read_report


def written(
    subject: Subject, names: Sequence[str], prompts: Sequence[Sequence[int]], what: str
) -> list[list[int]]:
    """Token ids of the model's answer to each prompt (token ids), the end token included. names: of
    the prompts, different ones."""
    from tiebreak.engine.generation import generate
    from tiebreak.engine.models import autocast
    from tiebreak.engine.progress import progress

    run, evaluation = subject.run, subject.run.evaluation
    with progress(what, len(prompts)) as advance, autocast(run.train.precision):
        return generate(
            subject.model, prompts, progress=advance, seed=evaluation.seed,
            pad_id=subject.tokenizer.pad_token_id, end_ids=read_report(subject.tokens)["end_ids"],
            max_new_tokens=evaluation.max_new_tokens, temperature=evaluation.temperature,
            batch_size=evaluation.batch_size, items=names if evaluation.samples_by_item else None,
        )  # fmt: skip
