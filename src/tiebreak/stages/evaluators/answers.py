"""Answers that a model writes to prompts, for every evaluator that has some: by the engine, or by a
program in an environment of its own. They are kept as they come, where one depends on no other."""

from __future__ import annotations

from collections.abc import Sequence

from tiebreak.kept_answers import KeptAnswers
from tiebreak.stages import generator
from tiebreak.stages.evaluators.evaluator import KEPT, Subject
from tiebreak.stages.tokens import read_report

Prompts = Sequence[Sequence[int]]  # token ids


def written(subject: Subject, names: Sequence[str], prompts: Prompts, what: str) -> list[list[int]]:
    """Token ids of the model's answer to each prompt, the end token included. names: of the
    prompts, different ones."""
    evaluation, kept = subject.run.evaluation, subject.kept(what)
    missing = [at for at, name in enumerate(names) if kept.get(name) is None]
    if missing and evaluation.generator.command:
        _by_program(subject, [(names[at], prompts[at]) for at in missing], kept, what)
    elif missing:
        together = missing if evaluation.independent else list(range(len(names)))
        _by_engine(subject, [names[at] for at in together], [prompts[at] for at in together],
                   kept, what)  # fmt: skip
    return [kept.get(name) for name in names]


def _by_engine(
    subject: Subject, names: Sequence[str], prompts: Prompts, kept: KeptAnswers, what: str
) -> None:
    from tiebreak.engine.generation import generate
    from tiebreak.engine.models import autocast
    from tiebreak.engine.progress import progress

    run, evaluation = subject.run, subject.run.evaluation
    with progress(what, len(prompts)) as advance, autocast(run.train.precision):

        def keep(found: dict[int, list[int]]) -> None:
            if evaluation.independent:
                kept.add({names[at]: ids for at, ids in found.items()})
            advance(len(found))

        found = generate(
            subject.model, prompts, each=keep, seed=evaluation.seed,
            pad_id=subject.tokenizer.pad_token_id, end_ids=read_report(subject.tokens)["end_ids"],
            max_new_tokens=evaluation.max_new_tokens, temperature=evaluation.temperature,
            batch_size=evaluation.batch_size, items=names if evaluation.samples_by_item else None,
        )  # fmt: skip
    if not evaluation.independent:
        kept.add(dict(zip(names, found, strict=True)))


def _by_program(
    subject: Subject, asked: Sequence[tuple[str, Sequence[int]]], kept: KeptAnswers, what: str
) -> None:
    evaluation = subject.run.evaluation
    end_ids = read_report(subject.tokens)["end_ids"]
    assert subject.work is not None and subject.weights is not None, "an artefact is being made"
    requests = [
        generator.Request(name, list(ids), evaluation.max_new_tokens, evaluation.temperature,
                          generator.seed_of(evaluation.seed, name), end_ids)
        for name, ids in asked
    ]  # fmt: skip
    folder = subject.work / KEPT / "program"
    generator.generate(
        evaluation.generator, subject.weights, str(subject.run.train.precision), requests, kept,
        folder,
    )  # fmt: skip
