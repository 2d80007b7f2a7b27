"""The processes that train one run together: those of a `torchrun` that somebody typed.

Each of them is `tiebreak run`. Rank 0 does the run; the others wait for one word of it, to train
beside it or to leave. It says the word when it holds the artefact's lock, so nobody waits in the
training for a process that waits for another one's build. Stages before align are one process's
work, in a child without torchrun's environment. What `train.execution.num_processes` starts is
`run/processes.py` and `run/rank.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.stages.align import check_kind
from tiebreak.stages.stage import Context, Paths, Stage, folders, make, use_threads
from tiebreak.store import Store

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
             "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")  # fmt: skip


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def check(run: Run) -> None:
    """UserError where a launcher started another number of processes than was asked for."""
    asked, started = run.train.execution.num_processes, os.environ.get("WORLD_SIZE")
    if started is not None and asked not in (1, int(started)):
        raise UserError(
            f"train.execution.num_processes={asked}, and torchrun started {started}; leave "
            f"torchrun out, for tiebreak starts them itself, or give --nproc-per-node {asked}"
        )
    # It sets these for several processes, and with --cpu it starts one and says nothing.
    accelerate = {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= os.environ.keys()
    if started is None and asked == 1 and accelerate:
        raise UserError(
            "accelerate launch was asked for several processes and started one; leave it out and "
            "give train.execution.num_processes=NUMBER"
        )


class Others:
    """The ranks above 0, for rank 0: they are told once, at the latest when the block is left."""

    def __init__(self) -> None:
        self._waiting = world_size() > 1

    def beside(self, stage: Stage) -> Stage:
        """The align stage: they train when it is built. When it is in the store they need not."""

        def build(context: Context, work: Path, paths: Paths) -> None:
            self._tell(True)
            stage.build(context, work, paths)

        return replace(stage, build=build)

    def _tell(self, train: bool) -> None:
        if self._waiting:
            self._waiting = False
            _word(train)

    def __enter__(self) -> Others:
        return self

    def __exit__(self, *error: object) -> None:
        self._tell(False)


def follow(run: Run) -> None:
    """Ranks above 0: train beside rank 0, which holds the artefact's lock and writes it."""
    if not _word(False):
        return
    align, store = run.plan.align, Store(artefacts_dir())
    use_threads(run.train.execution.num_threads)
    align.build(Context(run), store.work("align", align.key), folders(align, store))


def _word(train: bool) -> bool:
    """What rank 0 says, in every process."""
    import datetime

    import torch
    from torch import distributed

    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=datetime.timedelta(hours=24))
    words = [train]
    distributed.broadcast_object_list(words, src=0)
    return words[0]


def prepare(run: Run) -> None:
    """Rank 0: have everything align needs built by a single process."""
    store = Store(artefacts_dir())
    if all(store.has(stage.name, stage.key) for stage in run.plan.align.parents.values()):
        return
    from tiebreak.run.worker import command, payload

    plain = {k: v for k, v in os.environ.items()
             if k not in _TORCHRUN and not k.startswith("TORCHELASTIC")}  # fmt: skip
    done = subprocess.run(
        command("prepare"), input=payload(run), stdout=subprocess.PIPE, text=True, env=plain
    )
    told = json.loads(done.stdout) if done.stdout else {}
    if "error" in told:
        raise UserError(told["error"])
    if done.returncode:
        raise UserError("a stage before align failed; what its process said is above")


def build_parents(run: Run) -> None:
    """What `prepare` runs in the child process."""
    store = Store(artefacts_dir())
    check_kind(run, make(run.plan.tokens, store, Context(run)))
    for parent in run.plan.align.parents.values():
        make(parent, store, Context(run))
