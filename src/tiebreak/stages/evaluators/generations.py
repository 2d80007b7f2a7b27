"""generations: what a model answers to held-out prompts, how long, and how far from its start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.data.examples import text_of
from tiebreak.stages.evaluators.answers import divides, scored, written
from tiebreak.stages.evaluators.evaluator import (
    Evaluator,
    Row,
    RunSize,
    Subject,
    Work,
    mean,
    summed,
)
from tiebreak.stages.tokens import PROMPTS
from tiebreak.track.record_format import GENERATIONS, items_file


def items(subject: Subject) -> list[Row]:
    """A row per prompt: its text and ids, the response, its tokens; of a policy's response also the
    log-prob (nats) under the policy and under the start model."""
    rows = _answers(subject)
    if subject.load_start is None:
        return rows
    from tiebreak.engine.rows import Branches

    names = [row["id"] for row in rows]
    branches = [Branches(row["prompt_ids"], [row["response_ids"]]) for row in rows]
    of_policy, of_start = "generations, policy", "generations, start model"
    logp = summed(scored(subject, names, branches, of_policy, lambda: subject.model))
    before = summed(scored(subject, names, branches, of_start, subject.take_start))
    return [
        row | {"logp": policy, "logp_start": start}
        for row, (policy,), (start,) in zip(rows, logp, before, strict=True)
    ]


def _answers(subject: Subject) -> list[Row]:
    from tiebreak.data.tokens import encode_prompts

    asked, tokenizer = subject.share.take(_prompts(subject)), subject.tokenizer
    prompts = encode_prompts(
        [row["prompt"] for row in asked], tokenizer, [f"row {row['id']}" for row in asked],
        [row.get("template", {}) for row in asked],
    )  # fmt: skip
    responses = written(subject, [row["id"] for row in asked], prompts, "generations")
    return [
        {"id": row["id"], "prompt": shown(row["prompt"]), "prompt_ids": prompt,
         "response_ids": response, "tokens": len(response),
         "response": tokenizer.decode(response, skip_special_tokens=True)}
        for row, prompt, response in zip(asked, prompts, responses, strict=True)
    ]  # fmt: skip


def _prompts(subject: Subject) -> list[Row]:
    evaluation = subject.run.evaluation
    own = subject.run.data.prompts(str(evaluation.split), evaluation.num_prompts, evaluation.seed)
    if own is not None:
        return [{"id": example.id, "prompt": example.prompt} for example in own]
    return json.loads((subject.tokens / PROMPTS).read_text())[: evaluation.num_prompts]


def shown(prompt: Any) -> str:
    """A prompt as one text: the last user turn of a conversation, earlier turns before it."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return text_of(prompt[0])
    return "\n".join(f"{m['role']}: {text_of(m)}" for m in prompt)


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {"length/generated": mean([row["tokens"] for row in rows])}


def compared(start: Sequence[Row], policy: Sequence[Row], run: RunConfig) -> dict[str, float]:
    """The divergence from the start model, estimated on the policy's own samples; answers drawn at
    another temperature than 1 are not that, and give none."""
    if run.evaluation.temperature != 1:
        return {}
    return {"kl/reference": mean([row["logp"] - row["logp_start"] for row in policy])}


def files(start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any]:
    both = list(zip(start, policy, strict=True))
    answers = [
        {"id": s["id"], "prompt": s["prompt"], "before": s["response"], "after": p["response"]}
        for s, p in both
    ]
    columns = {
        "id": [s["id"] for s, _ in both],
        "tokens/before": [s["tokens"] for s, _ in both],
        "tokens/after": [p["tokens"] for _, p in both],
        "logp": [p["logp"] for _, p in both],
        "logp_start": [p["logp_start"] for _, p in both],
    }
    return {GENERATIONS: answers, items_file("generations"): columns}


def alone(policy: Sequence[Row]) -> dict[str, Any]:
    """Of a model that has no start model: its answers, and their tokens."""
    answers = [{"id": p["id"], "prompt": p["prompt"], "after": p["response"]} for p in policy]
    columns = {"id": [p["id"] for p in policy], "tokens/after": [p["tokens"] for p in policy]}
    return {GENERATIONS: answers, items_file("generations"): columns}


def cost(size: RunSize, of_policy: bool) -> Work:
    """Answers are written; those of a policy are then scored by it and by the start model."""
    prompts, lengths = size.prompts(), size.held_out()
    written = prompts * (lengths.prompt + size.run.evaluation.max_new_tokens)
    scored = prompts * lengths.single
    disk = prompts * (200 + 12 * lengths.single)  # as text and as ids
    return Work(written, 2 * scored if of_policy else 0, disk)


EVALUATOR = Evaluator(
    "generations", items, metrics, compared, files, alone, cost=cost, divides=divides
)
