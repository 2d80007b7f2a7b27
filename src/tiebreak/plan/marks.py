"""What tells one stage from another before its key can be known, and without making every run's."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tiebreak.config.identity import RESULT_VERSION
from tiebreak.config.schema import Run, Schedule, TrainConfig
from tiebreak.stages.align import settings
from tiebreak.stages.stage import Stage

NO_SEED = 7_402_119_386_551_203


class Above(Protocol):
    @property
    def mark(self) -> str: ...
    @property
    def seeded(self) -> bool: ...


def outline(train: TrainConfig) -> TrainConfig:
    """Without what takes neither time nor room, and no stage but align depends on."""
    return dataclasses.replace(
        train, name="", learning_rate=0.0, schedule=Schedule.LINEAR, warmup_share=0.0,
        weight_decay=0.0, max_grad_norm=0.0,
    )  # fmt: skip


def own_settings(run: Run) -> str:
    """What tells two policies apart that are alike in all else."""
    return sha256(json.dumps(settings(run), sort_keys=True))


def mark_of(
    stage: Stage, run: Run, above: Sequence[Above], marks: dict[int, str]
) -> tuple[str, bool]:
    """(what tells a stage from others, `own_settings` left out; whether the seed is part of it).
    marks: of inputs that others contain, by their `id`."""
    known: Any
    if stage.by_content:  # its parents have no content yet
        known = [stage.what, str(run.train.precision), *(node.mark for node in above)]
        seeded = any(node.seeded for node in above)
        return _digest(stage.name, known, seeded)
    inputs: Mapping[str, Any] = stage.inputs({})
    own = settings(run) if stage.name == "align" else ()
    known = marks.get(id(inputs)) or {
        k: marks.get(id(v), v) for k, v in inputs.items() if k not in own
    }
    mark, seeded = _digest(stage.name, known, False)
    marks[id(inputs)] = mark
    return mark, seeded


def _digest(name: str, known: Any, seeded: bool) -> tuple[str, bool]:
    """Marks of what holds the seed begin with it, so that what holds them is seen to hold it."""
    text = json.dumps([name, known], sort_keys=True)
    seeded = seeded or str(NO_SEED) in text
    return (f"{NO_SEED} {sha256(text)}" if seeded else sha256(text)), seeded


def key_text(stage: Stage) -> str:
    """What `store.key` hashes for a stage that is keyed by settings."""
    inputs = {**stage.inputs({}), "result_version": RESULT_VERSION}
    text = {"stage": stage.name, "inputs": inputs}
    return json.dumps(text, sort_keys=True, separators=(",", ":"))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
