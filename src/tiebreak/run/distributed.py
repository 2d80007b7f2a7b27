"""A run whose training is several processes: those it starts, or those of a `torchrun` typed.

`train.execution.num_processes`: torchrun's processes train; the record, the artefact's lock and the
other stages stay in this one (`run.shares` divides the evaluation). The ranks read their run from
the environment; rank 0 says on stdout how far they are; each holds a lock while it may write. When
their stdin ends, because they are to stop or the process that started them was killed, they save a
checkpoint and leave. The first that fails says why in a file: the others fail then too.

A typed `torchrun`: each process is `tiebreak run`. Rank 0 does the run. The others wait for one
word of it, to train beside it or to leave, which it says once it holds the artefact's lock. Stages
before align are one process's work, in a child without torchrun's environment.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from tiebreak import interrupt, provenance
from tiebreak.compose import Run
from tiebreak.engine.processes import join, rank, world_size
from tiebreak.engine.progress import quiet_libraries
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.interrupt import Stopped
from tiebreak.run import task
from tiebreak.stages.align import check_kind
from tiebreak.stages.stage import Context, TrainingLog, folders, make, use_threads
from tiebreak.store import Store, try_lock

TASK, WORK = "TIEBREAK_TASK", "TIEBREAK_WORK"  # for the ranks: their run, and where they write
FAILED, LOCK = "failed.json", "ranks.lock"  # among the checkpoints, which go when all is done
STOPPED = 143
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
             "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")  # fmt: skip


class RankFailed(RuntimeError):
    """A rank ended with a defect; its trace is a note of this error."""


def train(run: Run, work: Path, log: TrainingLog) -> None:
    """The align stage of a run, whose parents are there, built in `work` by its ranks. Raises what
    ended the first of them; `Stopped` with a checkpoint there."""
    num = run.train.execution.num_processes
    check_devices(num)
    folder = work / "checkpoints"
    folder.mkdir(exist_ok=True)
    _wait_for_earlier(folder)
    (folder / FAILED).unlink(missing_ok=True)
    ranks = subprocess.Popen(
        command(num), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=_environment(run, work), start_new_session=True,  # Ctrl-C is for us to pass on
    )  # fmt: skip
    assert ranks.stdin is not None and ranks.stdout is not None
    with interrupt.deferred(ranks.stdin.close):
        try:
            failed = _listen(ranks.stdout, log, folder)
        except KeyboardInterrupt:
            ranks.stdin.close()
            _listen(ranks.stdout, log, folder)
            raise
        finally:
            ranks.stdin.close()
            ranks.stdout.close()
            ranks.wait()
    if ranks.returncode:
        _raise(folder, num, *(failed or (None, ranks.returncode)))


def command(num: int) -> list[str]:
    return [sys.executable, "-m", "tiebreak.run.distributed", str(num)]


def check_devices(num: int) -> None:
    """UserError where there are GPUs, and fewer than processes."""
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else num
    if found < num:
        raise UserError(
            f"train.execution.num_processes={num}, and a process takes a GPU; this machine shows "
            f"{found}: give train.execution.num_processes={found}, or CUDA_VISIBLE_DEVICES"
        )


def _environment(run: Run, work: Path) -> dict[str, str]:
    """Every rank is on this machine: they share its cores, and meet on its loopback interface,
    where gloo left alone takes the one that the machine's name stands for."""
    threads = provenance.cpus() // run.train.execution.num_processes
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    # Each would warn that it looked for unused parameters and found none.
    here = {"OMP_NUM_THREADS": str(max(1, threads)), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    here |= {"GLOO_SOCKET_IFNAME": loopback} if loopback else {}
    return {**here, **os.environ, TASK: task.payload(run), WORK: str(work)}


def _wait_for_earlier(folder: Path) -> None:
    """Ranks whose parent was killed still save their checkpoint; each holds this lock."""
    with (folder / LOCK).open("a+") as lock:
        if not try_lock(lock.fileno()):
            print("waiting for the processes of an earlier start to leave", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)


def _listen(said: IO[str], log: TrainingLog, checkpoints: Path) -> tuple[int, int] | None:
    """Take what the ranks say until all have left: (rank, exit code) of the first that failed."""
    failed = None
    for line in said:
        what = json.loads(line)
        if "begin" in what:
            log.begin(*what["begin"], checkpoints)
        elif "step" in what:
            log.step(*what["step"])
        else:
            failed = tuple(what["failed"])
    return failed


def _raise(folder: Path, num: int, rank: int | None, code: int) -> NoReturn:
    who = "torchrun" if rank is None else f"rank {rank} of {num}"
    if code < 0:  # the others failed because it was gone
        raise UserError(task.exit_words(code, who))
    if (folder / FAILED).is_file():
        told = json.loads((folder / FAILED).read_text())
        if told["mistake"]:
            raise UserError(told["error"])
        error = RankFailed(f"rank {told['rank']} of {num}: {told['error']}")
        error.add_note(told["trace"].rstrip())
        raise error
    if code == STOPPED:
        raise Stopped
    raise UserError(f"{who} ended with code {code}; what it said is above")


def first(codes: Mapping[int, int]) -> tuple[int, int]:
    """(rank, exit code) of the first to fail, given those that did within seconds, in order. A
    killed one goes before those that lost their connection to it and were seen to end with it."""
    killed = (-signal.SIGKILL, -signal.SIGSEGV)
    return min(codes.items(), key=lambda item: item[1] not in killed)


def launch(num: str) -> None:
    """torchrun; it says which rank failed first."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()  # what it has to say is said by us
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", num]
    try:
        run.main([*here, "-m", "tiebreak.run.distributed", "rank"])
    except ChildFailedError as error:
        codes = {rank: one.exitcode for rank, one in error.failures.items()
                 if one.timestamp < error.get_first_failure()[1].timestamp + 5}  # fmt: skip
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"failed": first(codes)}), flush=True)
        os._exit(1)
    except SignalException:
        os._exit(STOPPED)


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
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name) == "true":
            raise UserError(
                f"{name} is not read: each process would hold the whole model; leave accelerate "
                "launch out and give train.execution.num_processes=NUMBER"
            )


class Others(contextlib.AbstractContextManager["Others"]):
    """The ranks above 0, for rank 0: they are told once whether to train beside it or to leave, at
    the latest when the block is left. They need not train when the artefact is in the store."""

    def __init__(self) -> None:
        self._waiting = world_size() > 1

    def tell(self, train: bool) -> None:
        if self._waiting:
            self._waiting = False
            _word(train)

    def __exit__(self, *error: object) -> None:
        self.tell(False)


def follow(run: Run) -> None:
    """Ranks above 0: train beside rank 0, which holds the artefact's lock and writes it."""
    if _word(False):
        _build(run, Store(artefacts_dir()).work("align", run.plan.align.key))


def _build(run: Run, work: Path, log: TrainingLog | None = None) -> None:
    """Align, by one of its ranks."""
    use_threads(run.train.execution.num_threads)
    parents = folders(run.plan.align, Store(artefacts_dir()))
    run.plan.align.build(Context(run, log), work, parents)


def _word(train: bool) -> bool:
    """What rank 0 says, in every process."""
    from torch import distributed

    join(datetime.timedelta(hours=24))
    words = [train]
    distributed.broadcast_object_list(words, src=0)
    return words[0]


def prepare(run: Run) -> None:
    """Rank 0: have everything align needs built by a single process."""
    store = Store(artefacts_dir())
    if all(store.has(stage.name, stage.key) for stage in run.plan.align.parents.values()):
        return
    plain = {k: v for k, v in os.environ.items()
             if k not in TORCHRUN and not k.startswith("TORCHELASTIC")}  # fmt: skip
    done = subprocess.run(
        task.command("prepare"), input=task.payload(run), stdout=subprocess.PIPE, text=True,
        env=plain,
    )  # fmt: skip
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


@dataclass(frozen=True)
class Lines:
    """The log of rank 0: a line of JSON each, for the process that keeps the record."""

    file: IO[str]

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None:
        self._say("begin", resumed_at, steps)

    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None:
        self._say("step", step, metrics, speed)

    def _say(self, what: str, *values: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody reads it: stdin has ended as well
            print(json.dumps({what: values}), file=self.file, flush=True)


def train_as_rank() -> None:
    """One of the processes that `train` has torchrun start."""
    work = Path(os.environ[WORK])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not disturb the answers
    sys.excepthook = lambda kind, error, trace: _failed(work / "checkpoints" / FAILED, error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = (work / "checkpoints" / LOCK).open("a+")  # until this process is no more
    with interrupt.installed():
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _has_ended(0):  # the next start may have begun before we had the lock
                raise interrupt.Stopped
            threading.Thread(target=_leave_with_stdin, daemon=True).start()
            run = task.read_task(json.loads(os.environ[TASK]))
            quiet_libraries()
            _build(run, work, Lines(answers) if rank() == 0 else None)
        except interrupt.Stopped:
            os._exit(STOPPED)
    os._exit(0)  # libraries' threads have nothing left to say


def _has_ended(descriptor: int) -> bool:
    """Whether there is nothing to wait for: nobody writes to it."""
    return bool(select.select([descriptor], [], [], 0)[0])


def _leave_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _failed(path: Path, error: BaseException) -> None:
    """The last words, for the first to say them; they are whole or not there."""
    mistake = isinstance(error, UserError)
    words = str(error) if mistake else f"{type(error).__name__}: {error}".splitlines()[0]
    trace = "".join(traceback.format_exception(error))
    told = {"rank": rank(), "mistake": mistake, "error": words, "trace": trace}
    part = path.with_name(f"{path.name}.{rank()}")
    part.write_text(json.dumps(told))
    with contextlib.suppress(FileExistsError):
        os.link(part, path)
    os._exit(1)


if __name__ == "__main__":
    train_as_rank() if sys.argv[1] == "rank" else launch(sys.argv[1])
