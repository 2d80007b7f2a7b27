"""Data files and a checkpoint folder of the controlled world's text, as a user would have them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiebreak.data import world

SMALL = (
    "tracker=none train=lora train.precision=float32 train.execution.num_threads=1 "
    "train.batch_size=8 train.learning_rate=1e-3 train.lora.rank=4 train.max_steps=5 "
    "train.execution.checkpoint_every=2 data.max_length=128 evaluation=short "
    "evaluation.num_prompts=4 evaluation.max_new_tokens=12 train.sft.batch_size=8"
).split()


def pairs(number: int = 48) -> list[dict[str, Any]]:
    """Conversational pairs."""
    examples = world.preference_pairs(world.Knobs(num_pairs=number), 0, "train")
    return [
        {"prompt": e.prompt, "chosen": e.responses[0], "rejected": e.responses[1]} for e in examples
    ]


def ranked(number: int = 48, k: int = 3) -> list[dict[str, Any]]:
    """k answers to each prompt with their gold reward, in no order."""
    examples = world.demonstrations(number * k, 0, "sft")
    rows = []
    for row in pairs(number):
        answers = [row["chosen"], row["rejected"]]
        answers += [e.responses[0] for e in examples[: k - 2]]
        text = row["prompt"][-1]["content"]
        scores = [world.gold(text, answer).reward for answer in answers]
        rows.append({"prompt": row["prompt"], "responses": answers, "scores": scores})
    return rows


def unpaired(number: int = 48) -> list[dict[str, Any]]:
    """Every other answer is desirable."""
    return [
        {"prompt": row["prompt"], "completion": row["chosen" if i % 2 else "rejected"],
         "label": bool(i % 2)}
        for i, row in enumerate(pairs(number))
    ]  # fmt: skip


def demonstrations(number: int = 48) -> list[dict[str, Any]]:
    examples = world.demonstrations(number, 0, "sft")
    return [
        {"messages": [*e.prompt, {"role": "assistant", "content": e.responses[0]}]}
        for e in examples
    ]


def write(path: Path, rows: Iterable[dict[str, Any] | str]) -> Path:
    """A JSONL file; a row given as text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def checkpoint(prepared: Path, folder: Path) -> Path:
    """The prepared home's pretrained model as a plain folder from elsewhere."""
    (made,) = (prepared / "artefacts" / "pretrain").glob("[0-9a-f]*")
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("artefact.json", "log.jsonl"))
    return folder
