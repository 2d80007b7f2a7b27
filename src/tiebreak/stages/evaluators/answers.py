"""Answers that a model writes to prompts, and log-probs that it gives, for every evaluator that has
some. They are kept as they come: a killed evaluation goes on, and processes can divide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import RunConfig
from tiebreak.kept_answers import KeptAnswers
from tiebreak.stages import generator
from tiebreak.stages.evaluators.evaluator import KEPT, Subject
from tiebreak.stages.reference import score
from tiebreak.stages.tokens import read_report

if TYPE_CHECKING:
    from tiebreak.engine.rows import Branches

Prompts = Sequence[Sequence[int]]  # token ids


def divides(run: RunConfig) -> bool:
    """Whether several processes may write the answers: one depends on no other, and no program
    writes them, which takes what devices it wants."""
    return run.evaluation.independent and not run.evaluation.generator.command


def scored(
    subject: Subject, names: Sequence[str], rows: Sequence[Branches], what: str,
    model: Callable[[], Any],
) -> list[list[Any]]:  # fmt: skip
    """Log-prob of every token (tensors (tokens,), nats) of every response. names: of the rows,
    different ones; model: loaded if something is not known yet."""
    import torch

    kept = subject.kept(what)
    missing = [at for at, name in enumerate(names) if kept.get(name) is None]
    if missing:
        found = score(subject.run, model(), [rows[at] for at in missing], what)
        kept.add({names[at]: [logp_T.tolist() for logp_T in row]
                  for at, row in zip(missing, found, strict=True)})  # fmt: skip
    return [[torch.tensor(logp, dtype=torch.float32) for logp in kept.get(name)] for name in names]


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
