"""mt_bench_answers: what a model answers to questions of two turns, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tiebreak.stages.evaluators.answers import divides
from tiebreak.stages.evaluators.evaluator import Evaluator, Row, Subject, mean
from tiebreak.stages.evaluators.judged import (
    answered,
    asked_of,
    cost_of_answers,
    files_of_questions,
)

QUESTIONS, TURNS = "mt_bench", 2


def items(subject: Subject) -> list[Row]:
    """A row per question: id, category, turns, answers, tokens, references."""
    asked = subject.share.take(asked_of(subject.run, QUESTIONS, TURNS))
    talks: list[list[dict[str, str]]] = [[] for _ in asked]
    answers: list[list[str]] = [[] for _ in asked]
    tokens: list[list[int]] = [[] for _ in asked]
    for turn in range(TURNS):
        for talk, one in zip(talks, asked, strict=True):
            talk.append({"role": "user", "content": one.turns[turn]})
        names = [f"{one.id}, turn {turn + 1}" for one in asked]
        written = answered(subject, names, talks, f"mt_bench answers, turn {turn + 1}")
        for at, ids in enumerate(written):
            text = subject.tokenizer.decode(ids, skip_special_tokens=True)
            talks[at].append({"role": "assistant", "content": text})
            answers[at].append(text)
            tokens[at].append(len(ids))
    return [
        {"id": one.id, "category": one.category, "turns": list(one.turns), "answers": said,
         "tokens": lengths, "references": [one.reference(turn) for turn in range(TURNS)]}
        for one, said, lengths in zip(asked, answers, tokens, strict=True)
    ]  # fmt: skip


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {"mt_bench/tokens": mean([float(sum(row["tokens"])) / TURNS for row in rows])}


EVALUATOR = Evaluator(
    "mt_bench_answers", items, metrics, ignores=frozenset({"num_prompts"}),
    more=partial(files_of_questions, name=QUESTIONS),
    cost=cost_of_answers(QUESTIONS), divides=divides,
)  # fmt: skip
