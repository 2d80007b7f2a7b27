"""The start model of a run: a given checkpoint, or the stages that make it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.config.identity import (
    checkpoint_content,
    model_commit,
    start_content,
    start_source,
)
from tiebreak.config.schema import Run, Start
from tiebreak.home import checkpoint_folder
from tiebreak.stages.hashing import files_hash
from tiebreak.stages.stage import Paths, Stage, recipe

# The files a tokenizer may be read from.
TOKENIZER = re.compile(r".*token.*|vocab\..*|merges\.txt|.*\.model|.*template.*|.*\.tiktoken")


@dataclass(frozen=True)
class Checkpoint:
    """Weights and tokenizer: a folder or Hub id, or what a stage will have made.

    `identity` is plain JSON that determines the weights.
    """

    identity: Any
    source: str | None = None
    stage: Stage | None = None
    revision: str | None = None
    chat_template: str | None = None

    def parents(self) -> Mapping[str, Stage]:
        return {"start": self.stage} if self.stage else {}

    def place(self, paths: Paths) -> str | Path:
        """What `from_pretrained` takes."""
        if self.stage is not None:
            return paths["start"]
        assert self.source is not None
        return checkpoint_folder(self.source) or self.source

    def tokenizer(self, paths: Paths) -> Any:
        if self.source is None:
            from tiebreak.data.world import build_tokenizer

            return build_tokenizer()
        from tiebreak.engine.models import load_tokenizer

        place = checkpoint_folder(self.source) or self.source
        return load_tokenizer(place, self.revision, self.chat_template)


def start_checkpoint(run: Run) -> Checkpoint:
    """The model before the align stage."""
    base_or_given = _given(run, run.scenario.start)
    if run.scenario.start is Start.SFT and run.model.sft is None:
        from tiebreak.stages.sft import sft_stage

        base = _given(run, Start.BASE)
        stage = sft_stage(run, base)
        return Checkpoint(
            identity=stage.inputs({}), stage=stage, source=base.source,
            revision=base.revision, chat_template=base.chat_template,
        )  # fmt: skip
    return base_or_given


def _given(run: Run, start: Start) -> Checkpoint:
    source = getattr(run.model, str(start)) or run.model.base
    assert source is not None, "config.checks has seen to it"
    if source == "here":
        from tiebreak.stages.pretrain import instruct_stage, pretrain_stage

        stage = instruct_stage(run) if start is Start.INSTRUCT else pretrain_stage(run)
        return Checkpoint(identity=stage.inputs({}), stage=stage)
    content = checkpoint_content(source, run.model.revision)
    return Checkpoint(
        {"checkpoint": content}, source, None, _commit(source, run), run.model.chat_template
    )


def _commit(source: str, run: Run) -> str | None:
    """What `from_pretrained` must load for a Hub id: the commit that entered the keys."""
    hub = checkpoint_folder(source) is None
    return model_commit(source, run.model.revision) if hub else None


def tokenizer_inputs(run: Run) -> dict[str, Any]:
    """What determines token ids beside the data: a checkpoint's tokenizer, or the world's."""
    source = start_source(run)
    if source == "here":
        from tiebreak.data.world import WORLD_VERSION

        return {"world_version": WORLD_VERSION}
    folder = checkpoint_folder(source)
    if folder is None:
        content = checkpoint_content(source, run.model.revision)
    else:
        content = files_hash(sorted(f for f in folder.iterdir() if TOKENIZER.fullmatch(f.name)))
    return {"tokenizer": content, "chat_template": start_content(run).get("chat_template")}


def checkpoint_recipe(name: str, inputs: dict[str, Any], **rest: Any) -> Stage:
    """A stage that trains: its checkpoints are scratch."""
    return recipe(name, inputs, scratch=("checkpoints",), **rest)
