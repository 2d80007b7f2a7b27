"""overlap: what questions have in common with training data, once per (questions, data)."""

from __future__ import annotations

import functools
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.data.examples import prompt_key
from tiebreak.data.pair_sets import KEY
from tiebreak.data.sources.source import TRAIN, Data
from tiebreak.errors import UserError
from tiebreak.stages.checkpoint import Checkpoint
from tiebreak.stages.evaluators.evaluator import ITEMS, read_rows
from tiebreak.stages.stage import Context, Paths, Stage
from tiebreak.stages.tokens import PROMPTS

OVERLAP = "overlap.json"
SHARED = "shared"  # prompts that are training prompts as they stand


def overlap_stage(
    run: RunConfig, start: Checkpoint, tokens: Stage, name: str, asked: Stage
) -> Stage:
    """overlap.json: of the training rows, and of the demonstrations where the start model was tuned
    on them, with the questions of evaluator `name`. asked: the stage that has these: a benchmark's
    for the start model, or the rows of a pair set."""
    training = {"train": tokens}
    if run.trains_sft and start.stage is not None:
        training["demonstrations"] = start.stage.parents["tokens"]

    def build(context: Context, work: Path, paths: Paths) -> None:
        from tiebreak.data.overlap import overlap

        prompts = paths["asked"] / PROMPTS
        rows = json.loads(prompts.read_text()) if prompts.is_file() else None
        questions = _questions(paths["asked"]) if rows is None else [_text(r) for r in rows]
        folders = tuple(paths[side] for side in training)
        found: dict[str, Any] = overlap(questions, _trained(folders, start))
        if rows is not None and not run.data.samples:
            found[SHARED] = _shared(context.run.data, rows)
        (work / OVERLAP).write_text(json.dumps(found, sort_keys=True))

    return Stage("overlap", {}, build, {**training, "asked": asked}, what=name)


def read_overlap(folder: Path) -> dict[str, int]:
    """questions: judged; overlapping: of these; short: those too short to be judged; of a pair set
    also shared: prompts that are training prompts."""
    return json.loads((folder / OVERLAP).read_text())


def refuse_shared(run: RunConfig, name: str, asked: Path, folder: Path) -> None:
    """UserError when more than `evaluation.max_shared_prompts` of a pair set's prompts are training
    prompts."""
    shared = read_overlap(folder).get(SHARED, 0)
    rows = json.loads((asked / PROMPTS).read_text())
    most = run.evaluation.max_shared_prompts
    if shared > most * len(rows):
        raise UserError(
            f"{KEY}: {shared} of {len(rows)} prompts of {name} ({shared / len(rows):.1%}) are "
            "prompts of the training data, so it is no measure on unseen ones; take them out of "
            f"the file, or raise evaluation.max_shared_prompts (now {most:g})"
        )


def _questions(folder: Path) -> list[str]:
    return [row["question"] for row in read_rows(folder / ITEMS) if row.get("question")]


def _text(row: Mapping[str, Any]) -> str:
    """The turns of a prompt but for instructions of the system, which many prompts share."""
    turns = prompt_key(row["prompt"])
    return "\n".join(text for role, text in turns if role not in ("system", "developer"))


_last: dict[tuple[Path, ...], Any] = {}  # of the run before: its benchmarks follow one another


def _trained(folders: tuple[Path, ...], start: Checkpoint) -> Any:
    """The words of prompts and responses as they were trained on, numbered."""
    from tiebreak.data.overlap import numbered

    if folders not in _last:
        _last.clear()
        _last[folders] = numbered(_texts(folders, start.tokenizer()))
    return _last[folders]


def _texts(folders: Iterable[Path], tokenizer: Any) -> Iterator[str]:
    from tiebreak.data.tokens import Tokens

    for folder in folders:
        tokens = Tokens.load(folder)
        for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True):
            for ids in (prompt, *responses):
                yield tokenizer.decode(ids, skip_special_tokens=True)


def _shared(data: Data, rows: list[dict[str, Any]]) -> int:
    trained = _training_prompts(data, data.stamps())
    return sum(prompt_key(row["prompt"]) in trained for row in rows)


@functools.lru_cache(maxsize=1)
def _training_prompts(data: Data, stamps: Hashable) -> frozenset[Any]:
    return frozenset(prompt_key(one.prompt) for one in data.rows(TRAIN) if one.unfit is None)
