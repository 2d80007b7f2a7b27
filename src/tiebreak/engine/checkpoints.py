"""Checkpoints without pickle, complete or absent.

`transformers.Trainer` saves optimiser, schedule and random states with `torch.save`. This mixin
writes the same states as safetensors and JSON, marks a checkpoint complete only when every file is
on disk, and never lets an older good checkpoint go before. It overrides private methods of
transformers 5.23 (pinned); `tests/engine/test_checkpoints.py` notices when they move.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from tiebreak import interrupt
from tiebreak.errors import UserError
from tiebreak.store import error_number

COMPLETE = "complete.json"


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


class _SaveAndStop(TrainerCallback):
    """Told to stop: save after this step, then leave."""

    agreed = False

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if _any_process(interrupt.requested(), args):
            self.agreed = control.should_save = control.should_training_stop = True


def _any_process(mine: bool, args: Any) -> bool:
    """Whether this is so in one of them, as all of them see it after the same step."""
    if args.world_size == 1:
        return mine
    flag = torch.tensor(float(mine), device=args.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def train(trainer: Any, resume: Path | None) -> None:
    """Train from the start or from a checkpoint. Raises `Stopped`, with a checkpoint on disk, when
    the process is told to stop; of several, when one of them is.
    """
    stop = _SaveAndStop()
    trainer.add_callback(stop)
    with interrupt.deferred():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if stop.agreed:
            trainer.accelerator.wait_for_everyone()  # the first to leave would end the others
    if stop.agreed:
        raise interrupt.Stopped


class SafeCheckpoints:
    """Mixin for `transformers.Trainer`; put it before the trainer in the bases."""

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        target = folder / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                _mark_complete(target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(target, ignore_errors=True)
            good = last_checkpoint(folder)
            kept = f"the last good checkpoint is {good.name}" if good else "there is none before it"
            number = error_number(error)
            why = os.strerror(number) if number else error
            raise UserError(
                f"{target.name} could not be written ({why}); {kept}. Free "
                "space, then give the same command again: it goes on from there"
            ) from error
        if self.args.should_save:
            for old in folder.glob("checkpoint-*"):
                if old != target:
                    shutil.rmtree(old)

    def _save(self: Any, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if self.args.should_save:
            path = Path(output_dir or self.args.output_dir)
            self.accelerator.unwrap_model(self.model).save_pretrained(path, state_dict=state_dict)

    def _save_optimizer_and_scheduler(self: Any, output_dir: str) -> None:
        if self.args.should_save:
            state = self.optimizer.state_dict()
            _save_tree(state, Path(output_dir), "optimizer")
            _save_tree(self.lr_scheduler.state_dict(), Path(output_dir), "scheduler")

    def _load_optimizer_and_scheduler(self: Any, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.optimizer.load_state_dict(_load_tree(Path(checkpoint), "optimizer"))
            self.lr_scheduler.load_state_dict(_load_tree(Path(checkpoint), "scheduler"))

    def _save_rng_state(self: Any, output_dir: str) -> None:
        # This process may be here before process 0 has made the folder.
        os.makedirs(output_dir, exist_ok=True)
        _save_tree(random_state(), Path(output_dir), f"random-{self.args.process_index}")

    def _load_rng_state(self: Any, checkpoint: str | None) -> None:
        if checkpoint is not None:
            name = f"random-{self.args.process_index}"
            if not (Path(checkpoint) / f"{name}.json").is_file():
                raise UserError(
                    f"{checkpoint} was written by fewer processes than now run; start as many as "
                    "then (train.execution.num_processes), or remove it to begin again"
                )
            restore_random_state(_load_tree(Path(checkpoint), name))


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
