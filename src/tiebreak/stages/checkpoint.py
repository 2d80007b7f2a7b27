"""A model to start from: a checkpoint that was given, or one that a stage makes."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiebreak.config.schema import ModelConfig, RunConfig
from tiebreak.data.template import read_template
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.model_folder import (
    ADAPTER,
    ADAPTER_CONFIG,
    CONFIG,
    WHOLE,
    adapter_base,
    json_object,
    refuse_damaged,
    refuse_pointer,
    tokenizer_place,
    weight_files,
)
from tiebreak.stages.stage import Paths, Stage
from tiebreak.store import files_hash, stamps, weights_hash

# The files that a tokenizer of some class in transformers is read from.
TOKENIZER = re.compile(
    r".*token.*|vocab[-.].*|merges\.txt|.*\.model|.*template.*|.*\.tiktoken|tekken\.json|.*\.spm"
    r"|bpe\.codes|dict\.txt|(entity|target)_vocab\.json|(emoji|normalizer|byte_maps)\.json"
    r"|word_(shape|pronunciation)\.json"
)
TEMPLATES = "additional_chat_templates/*.jinja"
# Names of classes that are read from the tokenizer's files alone, and the types of models for which
# transformers takes another class all the same.
PLAIN_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
OWN_CLASS = frozenset(
    "hyperclovax_vision_v2 qwen2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen4_exp siglip2".split()
)
PLACES = ("base_model_name_or_path", "revision")  # where the base is, not what it is


@dataclass(frozen=True)
class Checkpoint:
    """Weights and tokenizer.

    stage: makes the weights; None: they are given. source: folder or Hub id that brings the
    tokenizer and, without a stage, the weights; None: the controlled world's. commit: of a Hub id.
    settings: for the key of a stage that reads the weights. tokenizer_settings: for the key of one
    that turns text into token ids. default_template: for a tokenizer without a chat template.
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
    """The checkpoint of a base model, with `model.base_chat_template` for a tokenizer that brings
    no chat template."""
    found, template = given(source, model), model.base_chat_template
    if template is None or model.chat_template:
        return found
    named = {
        **found.tokenizer_settings,
        "base_chat_template": _text_hash(template, "model.base_chat_template"),
    }
    return replace(found, tokenizer_settings=named, default_template=template)


def given(source: str, model: ModelConfig) -> Checkpoint:
    """The checkpoint in a folder, or of a Hub id. UserError when it is not there, or damaged."""
    template = {"chat_template": _text_hash(model.chat_template)} if model.chat_template else {}
    content, commit = _content(source, model.revision)
    place = tokenizer_place(checkpoint_folder(source) or source)
    tokenizer = {**_tokenizer(str(place), commit), **template}
    return Checkpoint(None, source, commit, model.chat_template, {"checkpoint": content}, tokenizer)


def _content(source: str, revision: str | None) -> tuple[str, str | None]:
    """(what names the weights, the commit of the Hub id they come from); an adapter's weights are
    its own and those of its base, whatever that one's place is."""
    folder = checkpoint_folder(source)
    if folder is None:
        commit = model_commit(source, revision)
        return f"hub:{source}@{commit}", commit
    base = adapter_base(folder)
    if base is None:
        return folder_content(folder), None
    file = folder / ADAPTER_CONFIG
    try:
        below, commit = _content(*base)
    except UserError as error:
        said = str(error).replace("model.revision", "revision there")
        raise UserError(
            f"{file}: base_model_name_or_path={base.place!r}: {said}; or write the base model's "
            "folder there"
        ) from error
    about = {k: v for k, v in json_object(file).items() if k not in PLACES}
    parts = (below, files_hash([folder / ADAPTER]), json.dumps(about, sort_keys=True))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest(), commit


def _tokenizer(place: str, commit: str | None) -> dict[str, str]:
    """What names the tokenizer, its chat templates included. UserError: a file is damaged."""
    folder = checkpoint_folder(place)
    if folder is None:
        return {"checkpoint": f"hub:{place}@{commit}"}
    files = sorted(f for f in folder.iterdir() if TOKENIZER.fullmatch(f.name) and f.is_file())
    more = sorted(f for f in folder.glob(TEMPLATES) if f.is_file())
    _refuse_damaged_tokenizer(stamps([*files, *more]))
    templates = {"templates": files_hash(more)} if more else {}
    return {"tokenizer": files_hash(files)} | templates | _class_by_config(folder)


@functools.lru_cache
def _refuse_damaged_tokenizer(files: tuple[tuple[str, int, int], ...]) -> None:
    for file in (Path(name) for name, *_ in files):
        is_json = file.name.startswith("tokenizer") and file.suffix == ".json"
        (json_object if is_json else refuse_pointer)(file)


def _class_by_config(folder: Path) -> dict[str, str]:
    """What of config.json decides how the files of a tokenizer are read, where it does."""
    config, tokenizer = (
        json_object(file) if file.is_file() else {}
        for file in (folder / CONFIG, folder / "tokenizer_config.json")
    )
    kind, named = config.get("model_type"), tokenizer.get("tokenizer_class")
    if named is None:
        return {"class": f"{kind} {config.get('tokenizer_class')}"}
    return {"class": str(kind)} if named in PLAIN_CLASSES and kind in OWN_CLASS else {}


def source_stamps(run: RunConfig) -> Hashable:
    """What tells that the files of the checkpoint a run starts from were changed."""
    source, model = run.start_source, run.model
    if source == "here":
        return None
    folder = checkpoint_folder(source)
    if folder is None:
        return model_commit(source, model.revision)
    of_base = model.base_chat_template and _text_hash(
        model.base_chat_template, "model.base_chat_template"
    )
    return _stamps(folder), model.chat_template and _text_hash(model.chat_template), of_base


def _stamps(folder: Path) -> Hashable:
    files = [file for file in [*folder.iterdir(), *folder.glob(TEMPLATES)] if file.is_file()]
    base = adapter_base(folder)
    below = base and checkpoint_folder(base.place)
    return stamps(files), base, below and _stamps(below)


@functools.lru_cache
def model_commit(source: str, revision: str | None) -> str:
    """The commit a Hub model's revision stands for, asked once per process."""
    from tiebreak.data.hub import resolve_commit

    return resolve_commit(source, revision, kind="model")


def folder_content(folder: Path) -> str:
    """sha256 over a whole checkpoint's weights and config.json. UserError: it is damaged."""
    files = [*folder.glob("*.safetensors"), *folder.glob("*.json")]
    return _folder_content(folder, stamps(files))


@functools.lru_cache
def _folder_content(folder: Path, files: object) -> str:
    """Gigabytes are read once per process, and again only if a file changed."""
    refuse_damaged(folder)
    config = hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
    content = f"{weights_hash(folder)} {config}"
    taken = weight_files(folder)
    usual = [set(folder.glob(names)) for names in (WHOLE, "*.safetensors", "model-*-of-*")]
    if set(taken) not in usual:  # else the names of the files tell which are taken
        content += f" {files_hash(taken)}"
    return hashlib.sha256(content.encode()).hexdigest()


def _text_hash(template: str, key: str = "model.chat_template") -> str:
    return hashlib.sha256(read_template(template, key).encode()).hexdigest()
