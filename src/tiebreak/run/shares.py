"""An evaluation by several processes (`train.execution.num_processes`): each has a whole model on a
device of its own and computes every n-th item; nothing is sent between them.

What a process computes it adds to a file of its own beside those of the others, in the folder of
the artefact that is made. So the parts are put together by the names of items, a killed evaluation
goes on with any number of processes, and the whole is made by the very function that one process
uses, which then finds everything computed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from tiebreak import provenance
from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.kept_answers import Share
from tiebreak.run import distributed, task
from tiebreak.stages.evaluators import evaluator_of
from tiebreak.stages.stage import Context, Paths, Stage, folders, free_memory, use_threads
from tiebreak.store import Store

GRACE = 10.0  # seconds


class Beside(contextlib.AbstractContextManager["Beside"]):
    """The processes beside this one, which are started when there is something to divide and end
    with the block."""

    def __init__(self, run: Run) -> None:
        self._run, self._others = run, list[subprocess.Popen[str]]()
        self._number = run.train.execution.num_processes

    def divided(self, name: str, at: int, stage: Stage) -> Stage:
        """The stage of an evaluator, built by all processes where its items can be divided. at: its
        place among the stages of the evaluator."""
        evaluator = evaluator_of(name, self._run.evaluation)
        if self._number == 1 or not evaluator.divides(self._run):
            return stage

        def build(context: Context, work: Path, paths: Paths) -> None:
            self._begin({"name": name, "at": at, "key": stage.key})
            stage.build(replace(context, share=Share(0, self._number)), work, paths)
            free_memory()
            self._wait(name)
            stage.build(context, work, paths)

        return replace(stage, build=build)

    def _begin(self, what: dict[str, object]) -> None:
        if not self._others:
            distributed.check_devices(self._number)
            self._others = [_process(rank, self._number) for rank in range(1, self._number)]
        for rank, other in enumerate(self._others, 1):
            assert other.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died, which `_wait` tells
                other.stdin.write(
                    task.payload(self._run, {**what, "rank": rank, "of": self._number})
                )
                other.stdin.flush()

    def _wait(self, name: str) -> None:
        """Raises what ended the first of the others that failed; what was computed is kept."""
        for rank, other in enumerate(self._others, 1):
            assert other.stdout is not None
            said = other.stdout.readline()
            who = f"process {rank + 1} of {self._number} of {name}"
            if not said:
                raise UserError(f"{_end(other.wait(), who)}; the same command goes on")
            answer = json.loads(said)
            if "error" in answer:
                raise UserError(answer["error"])
            if "stopped" in answer:
                raise UserError(f"{who} was told to stop; the same command goes on")

    def __exit__(self, *error: object) -> None:
        for other in self._others:
            other.terminate()
        for other in self._others:
            try:
                other.wait(GRACE)
            except subprocess.TimeoutExpired:
                other.kill()
            other.__exit__(None, None, None)  # closes its pipes
        self._others = []


def _end(code: int, who: str) -> str:
    return task.exit_words(code, who) if code < 0 else f"{who} failed; what it said is above"


def _process(rank: int, number: int) -> subprocess.Popen[str]:
    """One that sees one device, its own, and takes its part of the cores."""
    own = {name: value for name, value in os.environ.items()
           if name not in distributed.TORCHRUN and not name.startswith("TORCHELASTIC")}  # fmt: skip
    visible = own.get("CUDA_VISIBLE_DEVICES")
    devices = [str(rank)] * number if visible is None else visible.split(",")
    own["CUDA_VISIBLE_DEVICES"] = devices[rank] if rank < len(devices) else ""
    threads = str(max(1, provenance.cpus() // number))
    return subprocess.Popen(
        task.command("share"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"OMP_NUM_THREADS": threads, **own},
    )  # fmt: skip


def compute(run: Run, name: str, at: int, key: str, rank: int, of: int) -> None:
    """The share of one process in a stage of an evaluator, by that process: what it computes is
    kept in the folder of the artefact, which the first process makes."""
    stage, store = run.plan.evaluations[name].stages[at], Store(artefacts_dir())
    assert stage.key == key, f"{name} is another stage here: {stage.key}, not {key}"
    use_threads(run.train.execution.num_threads)
    context = Context(run, share=Share(rank, of))
    stage.build(context, store.work(stage.name, key), folders(stage, store))
    free_memory()
