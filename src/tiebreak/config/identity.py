"""Run id and group id: the hash of what changes a run's result, and of nothing else.

Left out: where files lie (their content counts), logging, the tracker, and `train.execution`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tiebreak.config.schema import Adapter, Run, Start, WorldData
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.store import weights_hash

# Raise when the same configuration starts to give another result.
RESULT_VERSION = 1
DEMONSTRATIONS = frozenset({"num_demonstrations", "demonstrations", "demonstrations_split"})


T = TypeVar("T")


def _once(name: str) -> Callable[[Callable[[Run], T]], Callable[[Run], T]]:
    """Worked out once, so that a run keeps its name when its data change or go away."""

    def decorate(function: Callable[[Run], T]) -> Callable[[Run], T]:
        @functools.wraps(function)
        def remembered(run: Run) -> T:
            known = vars(run)  # not a field: the run is frozen, and compared without it
            if name not in known:
                known[name] = function(run)
            return known[name]

        return remembered

    return decorate


@_once("_run_id")
def run_id(run: Run) -> str:
    """12 hex characters."""
    return _hash({"seed": run.seed, **_content(run)})


def group_id(run: Run) -> str:
    """The run id without the seed: what is averaged in a table."""
    return _hash(_content(run))


def plain(run: Run, group: str) -> dict[str, Any]:
    """One group of the run as plain values, without what does not change the result."""
    values = dict(run.resolved[group])
    values.pop("execution", None)
    values.pop("name", None)
    return values


@_once("_content")
def _content(run: Run) -> dict[str, Any]:
    data = data_content(run)
    if not trains_sft(run):
        data = {k: v for k, v in data.items() if k not in DEMONSTRATIONS}
    return {
        "version": RESULT_VERSION,
        "model": start_content(run),
        "method": {"name": run.method_name, **plain(run, "method")},
        "start": str(run.scenario.start),
        "data": data,
        "train": train_content(run),
        "evaluation": plain(run, "evaluation"),
    }


def trains_sft(run: Run) -> bool:
    """Whether this run's start model is fine-tuned here."""
    return run.scenario.start is Start.SFT and run.model.sft is None


def train_content(run: Run) -> dict[str, Any]:
    """The training settings that have an effect in this run."""
    train = plain(run, "train")
    if not trains_sft(run):
        train.pop("sft")
    if run.train.adapter is Adapter.NONE:
        train.pop("lora")
    if run.method.needs.reference:
        train.pop("drift")
    return train


def start_source(run: Run) -> str:
    """The checkpoint the run's start is, or is tuned from; "here" when it is pretrained here."""
    source = getattr(run.model, str(run.scenario.start)) or run.model.base
    assert source is not None, "config.checks has seen to it"
    return source


def start_content(run: Run) -> dict[str, Any]:
    """The checkpoint the scenario starts from, by content; or the recipe that makes it."""
    model, source = plain(run, "model"), start_source(run)
    if source != "here":
        return {"checkpoint": checkpoint_content(source, run.model.revision),
                "chat_template": _file_hash(run.model.chat_template)}  # fmt: skip
    recipe = {"pretraining": model["pretraining"]}
    if run.scenario.start is Start.INSTRUCT:
        recipe["instruct_tuning"] = model["instruct_tuning"]
    return recipe


def checkpoint_content(source: str, revision: str | None) -> str:
    """sha256 over a folder's weights and architecture; a Hub id with its commit."""
    folder = checkpoint_folder(source)
    if folder is None:
        return f"hub:{source}@{model_commit(source, revision)}"
    files = [*folder.glob("*.safetensors"), folder / "config.json"]
    return _checkpoint_hash(folder, tuple(sorted(_stamp(f) for f in files)))


@functools.lru_cache
def model_commit(source: str, revision: str | None) -> str:
    """The commit a Hub model's revision stands for, asked once per process."""
    from tiebreak.data.hub import resolve_commit

    return resolve_commit(source, revision, kind="model")


@functools.lru_cache
def _checkpoint_hash(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """Gigabytes are read once per process, and again only if a file changed."""
    config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    return hashlib.sha256(f"{weights_hash(folder)} {config}".encode()).hexdigest()


def _stamp(file: Path) -> tuple[str, int, int]:
    about = file.stat()
    return str(file), about.st_size, about.st_mtime_ns


@_once("_data_content")
def data_content(run: Run) -> dict[str, Any]:
    """The data settings, with the content of files and Hub data sets in place of their names."""
    values = plain(run, "data")
    values.pop("max_dropped_share")  # a guard: what passes it is the same rows
    if isinstance(run.data, WorldData):
        from tiebreak.data.world import WORLD_VERSION

        return {**values, "world_version": WORLD_VERSION}
    data = run.data
    values["train"] = _fingerprint(data.train, data.train_split, data.revision)
    if data.test:
        values["test"] = _fingerprint(data.test, data.test_split, data.revision)
    if data.demonstrations:
        where, split = data.demonstrations, data.demonstrations_split
        values["demonstrations"] = _fingerprint(where, split, data.revision)
    return values


def _fingerprint(source: str, split: str, revision: str | None) -> str:
    from tiebreak.data.read import is_hub

    stamp = None if is_hub(source) or not Path(source).is_file() else _stamp(Path(source))
    return _fingerprint_of(source, split, revision, stamp)


@functools.lru_cache
def _fingerprint_of(source: str, split: str, revision: str | None, stamp: object) -> str:
    """A file is read again only if it changed; a Hub is asked once per process."""
    from tiebreak.data.read import fingerprint

    return fingerprint(source, split, revision)


def _file_hash(path: str | None) -> str | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise UserError(f"model.chat_template={path}: no such file; give a Jinja template, or null")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
