"""Run id and group id: the hash of what changes a run's result, and of nothing else.

Left out: where files lie (their content counts), logging, the tracker, and `train.execution`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from tiebreak.config.schema import Adapter, FileData, Run, WorldData
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.store import weights_hash

# Raise when the same configuration starts to give another result.
RESULT_VERSION = 1


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


def _content(run: Run) -> dict[str, Any]:
    train, data = plain(run, "train"), data_content(run)
    if run.scenario.start != "sft" or run.model.sft is not None:
        train.pop("sft")
        for key in ("num_demonstrations", "demonstrations", "demonstrations_split"):
            data.pop(key, None)
    if run.train.adapter is Adapter.NONE:
        train.pop("lora")
    return {
        "version": RESULT_VERSION,
        "model": start_content(run),
        "method": {"name": run.method_name, **plain(run, "method")},
        "start": str(run.scenario.start),
        "data": data,
        "train": train,
        "evaluation": plain(run, "evaluation"),
    }


def start_content(run: Run) -> dict[str, Any]:
    """The checkpoint the scenario starts from, by content; or the recipe that makes it."""
    model = plain(run, "model")
    start = str(run.scenario.start)
    source = model[start] if model[start] is not None else model["base"]
    if source != "here":
        return {"checkpoint": checkpoint_content(source, model["revision"]),
                "chat_template": _file_hash(model["chat_template"])}  # fmt: skip
    recipe = {"pretraining": model["pretraining"]}
    if start == "instruct":
        recipe["instruct_tuning"] = model["instruct_tuning"]
    return recipe


def checkpoint_content(source: str, revision: str | None) -> str:
    """sha256 over a folder's weights; a Hub id with its revision."""
    folder = checkpoint_folder(source)
    if folder is None:
        return f"hub:{source}@{revision or 'main'}"
    files = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in folder.glob("*.safetensors")]
    return _weights_hash(folder, tuple(sorted(files)))


@functools.lru_cache
def _weights_hash(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """Gigabytes are read once per process, and again only if a file changed."""
    return weights_hash(folder)


def data_content(run: Run) -> dict[str, Any]:
    values = plain(run, "data")
    if isinstance(run.data, WorldData):
        from tiebreak.data.world import WORLD_VERSION

        return {**values, "world_version": WORLD_VERSION}
    from tiebreak.data.read import fingerprint

    data = run.data
    assert isinstance(data, FileData)
    values["train"] = fingerprint(data.train, data.train_split, data.revision)
    if data.test:
        values["test"] = fingerprint(data.test, data.test_split, data.revision)
    if data.demonstrations:
        where = data.demonstrations
        values["demonstrations"] = fingerprint(where, data.demonstrations_split, data.revision)
    return values


def _file_hash(path: str | None) -> str | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise UserError(f"model.chat_template={path}: no such file; give a Jinja template, or null")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
