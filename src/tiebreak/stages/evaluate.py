"""generate and evaluate: what a model answers on held-out prompts, and what it prefers.

One stage per model, the start model like any other, so that its row is made once and shared.
`generate` leaves answers; `evaluate` scores them (gold reward, divergence from the start model) and
the held-out pairs. `answer`, `judge` and `compare` are their parts for a model in memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.identity import plain
from tiebreak.config.schema import Run, WorldData
from tiebreak.engine.precision import resolve_precision
from tiebreak.stages.stage import Paths, Stage, recipe
from tiebreak.stages.start import tokenizer_inputs
from tiebreak.stages.tokens import PROMPTS, held_out_content

if TYPE_CHECKING:
    from tiebreak.engine.rows import Branches
    from tiebreak.stages.align import Line

Row = dict[str, Any]
GENERATIONS = "generations.jsonl"
PAIRS = "pairs.jsonl"


def evaluator_inputs(run: Run) -> dict[str, Any]:
    """What a metric's value depends on beside the model and its tokenizer: the held-out rows and
    how answers are drawn. Tables never mix two of these."""
    return {"evaluation": plain(run, "evaluation"), "rows": held_out_content(run)}


def evaluation_stages(run: Run, line: Line) -> tuple[Stage, Stage]:
    """(the start model's, the policy's) evaluation."""
    return _evaluate_stage(run, line, None), _evaluate_stage(run, line, line.align)


def _generate_stage(run: Run, line: Line, policy: Stage | None) -> Stage:
    inputs = {
        "start": line.start.identity,
        "policy": policy.inputs({}) if policy else None,
        "evaluator": evaluator_inputs(run),
        "tokenizer": tokenizer_inputs(run),
        "precision": resolve_precision(run.train.precision),
    }

    def build(work: Path, paths: Paths) -> None:
        _generate(work, run, line, paths)

    parents = _parents(line, policy)
    return recipe("generate", inputs, build=build, parents=parents, what=_whose(policy))


def _whose(policy: Stage | None) -> str:
    return "policy" if policy else "start model"


def _evaluate_stage(run: Run, line: Line, policy: Stage | None) -> Stage:
    generated = _generate_stage(run, line, policy)

    def build(work: Path, paths: Paths) -> None:
        _evaluate(work, run, line, paths)

    parents = {**_parents(line, policy), "generations": generated}
    inputs = {**generated.inputs({}), "pairs": "by token"}  # what PAIRS holds; before, only sums
    return recipe("evaluate", inputs, build=build, parents=parents, what=_whose(policy))


def _parents(line: Line, policy: Stage | None) -> dict[str, Stage]:
    parents = {**line.start.parents(), "tokens": line.tokens}
    return {**parents, "policy": policy} if policy else parents


def _model(line: Line, paths: Paths) -> Any:
    from tiebreak.engine.models import load_policy, load_start

    start = line.start.place(paths)
    if "policy" not in paths:
        return load_start(start, line.start.revision)
    return load_policy(start, paths["policy"], line.start.revision)


def _generate(work: Path, run: Run, line: Line, paths: Paths) -> None:
    from tiebreak.stages.threads import use_threads

    use_threads(run.train.execution.num_threads)
    tokenizer = line.start.tokenizer(paths)
    _write_lines(
        work / GENERATIONS, answer(run, _model(line, paths), tokenizer, paths["tokens"], "generate")
    )


def answer(run: Run, model: Any, tokenizer: Any, tokens: Path, what: str) -> list[Row]:
    """What a model in memory answers to the prompts of the run's evaluation."""
    from tiebreak.data.tokenise import encode_prompts
    from tiebreak.engine.generate import generate
    from tiebreak.engine.models import autocast
    from tiebreak.engine.progress import progress

    evaluation = run.evaluation
    examples = _prompts(run, tokens)
    prompts = encode_prompts([e["prompt"] for e in examples], tokenizer)
    report = json.loads((tokens / "report.json").read_text())
    with progress(what, len(prompts)) as advance:
        with autocast(resolve_precision(run.train.precision)):
            responses = generate(
                model,
                prompts,
                pad_id=tokenizer.pad_token_id,
                end_ids=report[evaluation.split]["end_ids"],
                max_new_tokens=evaluation.max_new_tokens,
                temperature=evaluation.temperature,
                batch_size=evaluation.batch_size,
                seed=evaluation.seed,
                progress=advance,
            )
    return [
        {"id": e["id"], "prompt": _shown(e["prompt"]), "prompt_ids": p, "response_ids": r,
         "response": tokenizer.decode(r, skip_special_tokens=True)}
        for e, p, r in zip(examples, prompts, responses, strict=True)
    ]  # fmt: skip


def _prompts(run: Run, tokens: Path) -> list[dict[str, Any]]:
    evaluation = run.evaluation
    if isinstance(run.data, WorldData):
        from tiebreak.data import world

        examples = world.prompts(evaluation.num_prompts, evaluation.seed, evaluation.split.value)
        return [{"id": e.id, "prompt": e.prompt} for e in examples]
    rows = json.loads((tokens / evaluation.split / PROMPTS).read_text())
    return rows[: evaluation.num_prompts]


def _shown(prompt: Any) -> str:
    """A prompt as one text: the last user turn of a conversation, earlier turns before it."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _evaluate(work: Path, run: Run, line: Line, paths: Paths) -> None:
    from tiebreak.engine.models import load_start
    from tiebreak.engine.rows import Branches
    from tiebreak.stages.threads import use_threads

    use_threads(run.train.execution.num_threads)
    generations = read_lines(paths["generations"] / GENERATIONS)
    answers = [Branches(g["prompt_ids"], [g["response_ids"]]) for g in generations]
    model = _model(line, paths)
    _write_lines(work / PAIRS, compare(run, model, paths["tokens"], "evaluate, pairs"))
    logp = start_logp = _summed(_score(run, model, answers, "evaluate, answers"))
    if "policy" in paths:
        del model  # one at a time in memory
        start = load_start(line.start.place(paths), line.start.revision)
        start_logp = _summed(_score(run, start, answers, "evaluate, start model"))
    rows = [
        row | {"logp": after, "logp_start": before}
        for row, (after,), (before,) in zip(judge(run, generations), logp, start_logp, strict=True)
    ]
    _write_lines(work / "items.jsonl", rows)


def compare(run: Run, model: Any, tokens: Path, what: str) -> list[Row]:
    """What a model in memory holds of the responses of the run's held-out rows."""
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.scorer import TrainingData

    held_out = Tokens.load(tokens / run.evaluation.split)
    data = TrainingData(held_out)
    rows = [_ends(data.branches(row)) for row in range(len(held_out))]
    return _pair_rows(held_out, _score(run, model, rows, what))


def judge(run: Run, generations: Sequence[Row]) -> list[Row]:
    """What can be said of answers by themselves: their length, and on world data their gold."""
    return [
        {"id": g["id"], "tokens": len(g["response_ids"])} | _gold(run, g["prompt"], g["response"])
        for g in generations
    ]


def _ends(row: Branches) -> Branches:
    """The best and the worst response of a ranked list; a pair or a single response as it is."""
    few = row.responses if len(row.responses) < 3 else [row.responses[0], row.responses[-1]]
    return type(row)(row.prompt, few)


def _score(run: Run, model: Any, rows: Sequence[Any], what: str) -> list[list[Any]]:
    """Log-prob of every token (tensors (tokens,), nats) of every response."""
    from tiebreak.engine.models import autocast
    from tiebreak.engine.progress import progress
    from tiebreak.engine.reference import score_all
    from tiebreak.engine.scoring import install

    execution = run.train.execution
    install(model, execution.head_chunk)
    with progress(what, len(rows)) as advance, autocast(resolve_precision(run.train.precision)):
        return score_all(
            model, rows, pad_id=0, budget=execution.positions_per_cut,
            overhead=execution.cut_overhead, progress=advance,
        )  # fmt: skip


def _summed(scored: list[list[Any]]) -> list[list[float]]:
    return [[float(t.double().sum()) for t in row] for row in scored]


def _gold(run: Run, prompt: str, response: str) -> dict[str, float]:
    if not isinstance(run.data, WorldData):
        return {}
    from dataclasses import asdict

    from tiebreak.data.world import gold

    return {f"gold/{part}": value for part, value in asdict(gold(prompt, response)).items()}


def _pair_rows(tokens: Any, scored: list[list[Any]]) -> list[dict[str, Any]]:
    """One row per held-out response set; unpaired rows have one response and a label."""
    from rapidfuzz.distance import Levenshtein

    rows = []
    for i, logps in enumerate(_summed(scored)):
        row: dict[str, Any] = {"id": tokens.ids[i], "label": tokens.labels[i], "logp": logps}
        row["logp_tokens"] = [t.tolist() for t in scored[i]]
        responses = tokens.responses[i]
        sides = [responses[0], responses[-1]][: len(logps)]
        row["lengths"] = [len(r) for r in sides]
        if len(logps) == 2:
            chosen, rejected = sides
            row["edit_distance"] = Levenshtein.normalized_distance(chosen, rejected)
            row["first_difference"] = _first_difference(chosen, rejected)
        rows.append(row)
    return rows


def _first_difference(chosen: Sequence[int], rejected: Sequence[int]) -> int | None:
    """Index of the first token that differs; where one response starts the other, its length."""
    for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if one != other:
            return at
    return min(len(chosen), len(rejected)) if len(chosen) != len(rejected) else None


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
