"""A run whose training is several processes: this one does the run, and torchrun's train for it.

The record, the artefact's lock, the stages before align and the evaluation stay here, so that such
a run is like any other to whoever waits for it. The ranks (`run/rank.py`) say on stdout how far
they are. Nothing is written to their stdin: when it ends they save a checkpoint and leave, whether
they are told to or the process that started them was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from tiebreak import interrupt, provenance
from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.interrupt import Stopped
from tiebreak.run.worker import exit_words, payload
from tiebreak.stages.stage import TrainingLog

TASK, WORK = "TIEBREAK_TASK", "TIEBREAK_WORK"  # for the ranks: their run, and where they write
FAILED, LOCK = "failed.json", "ranks.lock"  # among the checkpoints, which go when all is done
STOPPED = 143


class RankFailed(RuntimeError):
    """A rank ended with a defect; its trace is a note of this error."""


def train(run: Run, work: Path, log: TrainingLog) -> None:
    """The align stage of a run, whose parents are there, built in `work` by its ranks.

    Raises what ended the first of them; `Stopped` with a checkpoint there.
    """
    num = run.train.execution.num_processes
    _check_devices(num)
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
    return [sys.executable, "-m", "tiebreak.run.processes", str(num)]


def _check_devices(num: int) -> None:
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
    return {**here, **os.environ, TASK: payload(run), WORK: str(work)}


def _wait_for_earlier(folder: Path) -> None:
    """Ranks whose parent was killed still save their checkpoint; each holds this lock."""
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
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
        raise UserError(exit_words(code, who))
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
    """(rank, exit code) of the first to fail, given those that did within seconds, in order.

    A killed one goes before those that lost their connection to it and were seen to end with it.
    """
    killed = (-signal.SIGKILL, -signal.SIGSEGV)
    return min(codes.items(), key=lambda item: item[1] not in killed)


def main() -> None:
    """torchrun; it says which rank failed first."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()  # what it has to say is said by us
    here = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", sys.argv[1]]
    try:
        run.main([*here, "-m", "tiebreak.run.rank"])
    except ChildFailedError as error:
        codes = {rank: one.exitcode for rank, one in error.failures.items()
                 if one.timestamp < error.get_first_failure()[1].timestamp + 5}  # fmt: skip
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"failed": first(codes)}), flush=True)
        os._exit(1)
    except SignalException:
        os._exit(STOPPED)


if __name__ == "__main__":
    main()
