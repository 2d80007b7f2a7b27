"""Checkpoints without pickle, complete or absent: weights, and trees of numbers and tensors, as
safetensors and JSON. One is marked complete only when every file is on disk, and only then do
older ones go."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tiebreak.engine import processes
from tiebreak.errors import UserError
from tiebreak.store import error_number

COMPLETE = "complete.json"
_WEIGHTS = "model.safetensors"


def last_checkpoint(folder: Path, clean: bool = True) -> Path | None:
    """The newest complete checkpoint in `folder`; `clean` removes what a crash left half done."""
    complete = []
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE).is_file():
            complete.append(path)
        elif clean:
            shutil.rmtree(path)
    return max(complete, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def write(
    target: Path,
    weights: Mapping[str, Tensor],
    trees: Mapping[str, Any],
    more: Callable[[Path], object],
) -> None:
    """Leave `target` as the only checkpoint of its folder, once it is whole. Every process must
    call; rank 0 writes what it is given and what `more` writes, and each the state of its random
    generators. UserError: it cannot be written; an earlier one stays."""
    main = processes.rank() == 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        if main:
            save_file({n: w.detach().cpu().contiguous() for n, w in weights.items()},
                      target / _WEIGHTS)  # fmt: skip
            for name, tree in trees.items():
                _save_tree(tree, target, name)
            more(target)
        _save_tree(random_state(), target, f"random-{processes.rank()}")
        processes.wait()  # until all have written theirs
        if main:
            _mark_complete(target)
    except (OSError, SafetensorError) as error:
        _take_back(target, error)
    for old in target.parent.glob("checkpoint-*") if main else ():
        if old != target:
            shutil.rmtree(old)


def _take_back(target: Path, error: OSError | SafetensorError) -> NoReturn:
    shutil.rmtree(target, ignore_errors=True)
    good = last_checkpoint(target.parent)
    kept = f"the last good checkpoint is {good.name}" if good else "there is none before it"
    number = error_number(error)
    why = os.strerror(number) if number else error
    raise UserError(
        f"{target.name} could not be written ({why}); {kept}. Free "
        "space, then give the same command again: it goes on from there"
    ) from error


def read(checkpoint: Path, weights: Mapping[str, Tensor], *trees: str) -> list[Any]:
    """Put the saved weights into `weights` and the saved state into the random generators; returns
    the trees of these names. A process that had no counterpart keeps its generators as they are.
    UserError: the checkpoint does not hold these weights."""
    path = checkpoint / _WEIGHTS
    saved = load_file(path) if path.is_file() else {}
    for name, weight in weights.items():
        if name not in saved or saved[name].shape != weight.shape:
            raise UserError(
                f"{checkpoint} does not hold {name}: an earlier version of tiebreak wrote it, or "
                "another; remove it to begin this training again"
            )
        weight.detach().copy_(saved[name])
    name = f"random-{processes.rank()}"
    if (checkpoint / f"{name}.json").is_file():
        restore_random_state(_load_tree(checkpoint, name))
    return [_load_tree(checkpoint, tree) for tree in trees]


def set_seed(seed: int) -> None:
    """Of every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # of GPUs too


def random_state() -> dict[str, Any]:
    """The state of every generator training draws from."""
    version, internal, gauss = random.getstate()
    name, keys, pos, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, np.asarray(keys).tolist(), int(pos), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _save_tree(tree: Any, folder: Path, name: str) -> None:
    """Nested dicts and lists of numbers and tensors -> NAME.json + NAME.safetensors."""
    tensors: dict[str, Tensor] = {}
    plain = _take_tensors(tree, tensors)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(plain))


def _take_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        tensors[str(len(tensors))] = tree.detach().cpu().contiguous()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(tree, dict):
        items = [[k, _take_tensors(v, tensors)] for k, v in tree.items()]
        return {"dict": items}
    if isinstance(tree, list | tuple):
        return {"list": [_take_tensors(v, tensors) for v in tree]}
    return {"value": tree}


def _load_tree(folder: Path, name: str) -> Any:
    tensors = load_file(folder / f"{name}.safetensors")
    return _put_tensors(json.loads((folder / f"{name}.json").read_text()), tensors)


def _put_tensors(node: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, value),) = node.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {k: _put_tensors(v, tensors) for k, v in value}
    return [_put_tensors(v, tensors) for v in value] if kind == "list" else value


def _mark_complete(target: Path) -> None:
    """Flush every file, then write the marker: a checkpoint with it is whole."""
    sizes = {}
    for path in sorted(p for p in target.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.relative_to(target).as_posix()] = path.stat().st_size
    partial = target / f".{COMPLETE}"
    partial.write_text(json.dumps({"files": sizes}, indent=1, sort_keys=True))
    os.replace(partial, target / COMPLETE)
