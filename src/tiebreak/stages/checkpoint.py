"""A model to start from: a checkpoint that was given, or one that a stage makes."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiebreak.config.schema import ModelConfig, RunConfig
from tiebreak.data.template import read_template
from tiebreak.home import checkpoint_folder
from tiebreak.stages.stage import Paths, Stage
from tiebreak.store import files_hash, stamps, weights_hash

# The files a tokenizer may be read from.
TOKENIZER = re.compile(r".*token.*|vocab\..*|merges\.txt|.*\.model|.*template.*|.*\.tiktoken")


@dataclass(frozen=True)
class Checkpoint:
    """Weights and tokenizer.

    stage: makes the weights; None: they are given. source: folder or Hub id that brings the
    tokenizer and, without a stage, the weights; None: the controlled world's. commit: of a Hub id.
    settings: for the key of a stage that reads the weights. tokenizer_settings: for the key of one
    that turns text into token ids. default_template: for a tokenizer that
    brings no chat template.
    """

    stage: Stage | None
    source: str | None
    commit: str | None
    chat_template: str | None
    settings: Mapping[str, Any]
    tokenizer_settings: Mapping[str, Any]
    default_template: str | None = None

    @property
    def parents(self) -> dict[str, Stage]:
        """What a stage that reads the weights has among its parents."""
        return {"start": self.stage} if self.stage else {}

    def place(self, paths: Paths) -> str | Path:
        """What `from_pretrained` takes, given the folders of such a stage's parents."""
        if self.stage is not None:
            return paths["start"]
        assert self.source is not None
        return checkpoint_folder(self.source) or self.source

    def tokenizer(self) -> Any:
        """The tokenizer, with the chat template that was asked for."""
        if self.source is None:
            from tiebreak.data.world import build_tokenizer

            return build_tokenizer()
        from tiebreak.engine.models import load_tokenizer

        place = checkpoint_folder(self.source) or self.source
        tokenizer = load_tokenizer(place, self.commit, self.chat_template)
        if tokenizer.chat_template is None and self.default_template:
            tokenizer.chat_template = read_template(self.default_template)
        return tokenizer


def given_base(source: str, model: ModelConfig) -> Checkpoint:
    """The same for a base model, which may bring no chat template."""
    found, template = given(source, model), model.base_chat_template
    if template is None or model.chat_template:
        return found
    named = {
        **found.tokenizer_settings,
        "base_chat_template": _text_hash(template, "model.base_chat_template"),
    }
    return replace(found, tokenizer_settings=named, default_template=template)


def given(source: str, model: ModelConfig) -> Checkpoint:
    """The checkpoint in a folder, or of a Hub id. UserError when it is not there."""
    template = {"chat_template": _text_hash(model.chat_template)} if model.chat_template else {}
    folder = checkpoint_folder(source)
    if folder is None:
        commit = model_commit(source, model.revision)
        settings = {"checkpoint": f"hub:{source}@{commit}"}
        return Checkpoint(
            None, source, commit, model.chat_template, settings, {**settings, **template}
        )
    files = sorted(f for f in folder.iterdir() if TOKENIZER.fullmatch(f.name))
    settings = {"checkpoint": folder_content(folder)}
    tokenizer = {"tokenizer": files_hash(files), **template}
    return Checkpoint(None, source, None, model.chat_template, settings, tokenizer)


def source_stamps(run: RunConfig) -> Hashable:
    """What tells that the files of the checkpoint a run starts from were changed."""
    source = run.start_source
    if source == "here":
        return None
    folder = checkpoint_folder(source)
    if folder is None:
        return model_commit(source, run.model.revision)
    files = [file for file in folder.iterdir() if file.is_file()]
    return stamps(files), run.model.chat_template and _text_hash(run.model.chat_template)


@functools.lru_cache
def model_commit(source: str, revision: str | None) -> str:
    """The commit a Hub model's revision stands for, asked once per process."""
    from tiebreak.data.hub import resolve_commit

    return resolve_commit(source, revision, kind="model")


def folder_content(folder: Path) -> str:
    """sha256 over a checkpoint folder's weights and config.json."""
    return _content(folder, stamps([*folder.glob("*.safetensors"), folder / "config.json"]))


@functools.lru_cache
def _content(folder: Path, files: object) -> str:
    """Gigabytes are read once per process, and again only if a file changed."""
    config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    return hashlib.sha256(f"{weights_hash(folder)} {config}".encode()).hexdigest()


def _text_hash(template: str, key: str = "model.chat_template") -> str:
    return hashlib.sha256(read_template(template, key).encode()).hexdigest()
