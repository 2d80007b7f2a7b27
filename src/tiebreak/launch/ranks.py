"""Several processes under `torchrun`: all of them train; the other stages are one process's work.

Rank 0 makes what training needs in a child process without torchrun's environment, the others
wait at the store; then every rank enters align, and rank 0 alone evaluates and writes the record.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.stages.align import Line, check_kind
from tiebreak.stages.stage import Stage, ensure
from tiebreak.store import Store

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
             "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")  # fmt: skip


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def prepare(run: Run) -> None:
    """Have everything align needs built by a single process; every rank waits for it."""
    store = Store(artefacts_dir())
    if rank() == 0 and not _ready(run, store):
        from tiebreak.launch.worker import command, payload

        plain = {k: v for k, v in os.environ.items()
                 if k not in _TORCHRUN and not k.startswith("TORCHELASTIC")}  # fmt: skip
        done = subprocess.run(command("prepare"), input=payload(run), text=True, env=plain)
        if done.returncode:
            raise UserError("a stage before align failed; its message is above")
    _barrier()
    if not _ready(run, store):
        raise UserError("a stage before align failed on rank 0")


def build_parents(run: Run) -> None:
    """What `prepare` runs in the child process."""
    store = Store(artefacts_dir())
    line = Line.of(run)
    check_kind(run, ensure(line.tokens, store).path)
    for parent in line.align.parents.values():
        ensure(parent, store)


def follow(run: Run) -> None:
    """Ranks above 0: train beside rank 0, which holds the artefact's lock and writes it."""
    store = Store(artefacts_dir())
    line = Line.of(run)
    key = line.align.key(store)
    assert key is not None
    if store.has("align", key):
        return
    paths = {role: _path(parent, store) for role, parent in line.align.parents.items()}
    line.align.build(store.work("align", key), paths)


def _path(stage: Stage, store: Store) -> Path:
    key = stage.key(store)
    assert key is not None
    return store.path(stage.name, key)


def _ready(run: Run, store: Store) -> bool:
    stages = Line.of(run).align.parents.values()
    keys = [(stage.name, stage.key(store)) for stage in stages]
    return all(key is not None and store.has(name, key) for name, key in keys)


def _barrier() -> None:
    import datetime

    import torch
    from torch import distributed

    if not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=datetime.timedelta(hours=24))
    distributed.barrier()
