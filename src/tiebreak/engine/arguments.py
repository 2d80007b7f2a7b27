"""What every trainer here is told the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from tiebreak.errors import UserError


def one_device(arguments: Any) -> Any:
    """A process trains on one device; several devices are several processes (torchrun).

    Left alone, Trainer wraps the model in DataParallel wherever it sees two devices, which
    multiplies the optimiser batch and cannot split rows.
    """
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def check_processes(training: int) -> None:
    """UserError where the processes that a launcher started know nothing of each other, as with
    `accelerate launch` and an FSDP file on a machine without GPU. `training`: what Trainer sees."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != training:
        raise UserError(
            f"{started} processes were started, and each would train by itself (accelerate sees "
            f"{training}); leave the launcher out and give train.execution.num_processes={started}"
        )


def common_arguments(folder: Path, precision: str, seed: int, checkpoint_every: int) -> dict:
    """Keyword arguments of `TrainingArguments`: where, how exact, and nothing sent anywhere."""
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "bf16": precision == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "steps",
        "save_steps": checkpoint_every,
        "save_total_limit": None,
        "logging_strategy": "steps",
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }
    if not torch.cuda.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        arguments["ddp_backend"] = "gloo"
    return arguments
