"""The engine `slurm`: runs as jobs of a cluster, submitted by submitit; replies come in files. The
tasks that are there now are written to a folder, and one job array does them: element N runs
`python -m tiebreak.sweep.engines.slurm FOLDER N`. A job that leaves no reply has failed, and SLURM
says why. submitit keeps pickles of its own in FOLDER/submitit; nothing of ours reads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from submitit import AutoExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import CommandFunction

from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.plan.estimate import workers_for
from tiebreak.run.task import payload
from tiebreak.store import FULL, UNWRITABLE, Store, disk_errors
from tiebreak.sweep.engines import gpus_of
from tiebreak.sweep.engines.local import Worker
from tiebreak.sweep.tasks import Task, Tasks, Told, WorkerReply

SETTINGS = None  # submitit knows them
TASKS, STOP, REPLIES = "tasks.jsonl", "stop", "replies"
WATCH_SECONDS, POLL_SECONDS = 0.5, 2.0
LATE_SECONDS = 15.0  # a shared disk may show a reply, and accounting an end, that late
MINUTES, SIGNAL_SECONDS = 60, 90  # a job's time limit; how long before it a run is told to stop
REMEDIES = {
    "TIMEOUT": "; give it more time: --launcher timeout_min=MINUTES",
    "OUT_OF_MEMORY": "; give it more memory: --launcher mem_gb=GB",
}
UNSETTLED = ("PENDING", "RUNNING", "COMPLETING", "COMPLETED")
NEAR_ITS_LIMIT = (
    "SLURM told its job to stop, as before a time limit; a checkpoint is saved, and tiebreak retry "
    "goes on from it; for more time: --launcher timeout_min=MINUTES"
)


def engine(
    workers: int | None, runs: Sequence[Run], folder: Path, settings: Mapping[str, Any]
) -> Slurm:
    """UserError where jobs cannot be submitted, or their end would never be known."""
    for command in ("sbatch", "srun", "squeue", "sacct", "scancel"):
        if shutil.which(command) is None:
            raise UserError(
                f"--engine slurm: there is no {command} here; sweep from a login node of the "
                "cluster, or use --engine local"
            )
    done = subprocess.run(["sacct", "-X", "--noheader"], capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise UserError(
            f"--engine slurm: sacct fails ({why}); without SLURM's accounting (slurmdbd) nobody "
            "learns how a job ended; have it started, or use --engine local"
        )
    workers = workers_for(workers, runs)
    slurm = Slurm(folder, workers, parameters(workers, settings, gpus_of(runs)))
    executor(folder, slurm.parameters)  # refuses a setting that submitit does not have
    return slurm


def parameters(workers: int, settings: Mapping[str, Any], gpus: int = 0) -> dict[str, Any]:
    """submitit's settings: ours where none is given. gpus: that each job asks for, unless a setting
    names some. A signal before the time limit is SIGTERM: the run saves a checkpoint and leaves."""
    given = {"array_parallelism": workers, "signal_delay_s": SIGNAL_SECONDS, **settings}
    if gpus and not any("gpu" in key or key == "gres" for key in settings):
        given["gres"] = f"gpu:{gpus}"
    if "time" not in given:
        minutes = given.setdefault("timeout_min", MINUTES)
        if not isinstance(minutes, int):
            raise UserError(f"--launcher timeout_min={minutes} must be whole minutes, as in 240")
        given["signal_delay_s"] = min(given["signal_delay_s"], 30 * minutes)
    more = given.get("additional_parameters") or {}
    given["additional_parameters"] = {"signal": f"TERM@{given['signal_delay_s']}", **more}
    return given


def executor(folder: Path, parameters: Mapping[str, Any]) -> AutoExecutor:
    """submitit's, with these settings. UserError: it does not have one of them."""
    made = AutoExecutor(folder, cluster="slurm")
    try:
        made.update_parameters(**{f"slurm_{key}": value for key, value in parameters.items()})
    except (NameError, ValueError, TypeError) as error:  # NameError: submitit's, for a name
        raise UserError(f"--launcher: {str(error).splitlines()[0]}") from error
    return made


@dataclass
class Slurm:
    """Does tasks by job arrays. folder: takes a subfolder for each; workers: jobs at once."""

    folder: Path
    workers: int
    parameters: dict[str, Any]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, tasks: Tasks, told: Told) -> None:
        """Do them; `told` is called with each task and reply, one at a time."""
        while not self._stopping.is_set() and (now := self._available(tasks)):
            for wave in waves(now):
                if not self._stopping.is_set():
                    self._do(wave, tasks, told)

    def stop(self) -> None:
        """No new jobs. Those that run save a checkpoint and leave; waiting ones are cancelled."""
        self._stopping.set()

    def _available(self, tasks: Tasks) -> list[Task]:
        """All tasks there are now; of a search only as many as run at once, for it learns."""
        available: list[Task] = []
        while (task := tasks.next()) is not None:
            available.append(task)
            if task.trial is not None and len(available) >= self.workers:
                break
        return available

    def _do(self, wave: Sequence[Task], tasks: Tasks, told: Told) -> None:
        array, left = JobArray.submit(self.folder, wave, self.parameters), dict(enumerate(wave))

        def tell(number: int, reply: WorkerReply) -> None:
            task = left.pop(number)
            tasks.answer(task, reply)
            told(task, reply)

        def take() -> None:
            for number, reply in array.replies(left):
                if "stopped" not in reply or self._stopping.is_set():
                    tell(number, reply)  # else SLURM told it to stop, and may start it again

        try:
            while left and array.is_queued():
                if self._stopping.is_set():
                    array.stop()
                take()
                time.sleep(POLL_SECONDS)
            take()
            if left and not self._stopping.is_set():
                states = array.states(list(left))
                take()
                for number, why in array.explain({n: states[n] for n in left}):
                    tell(number, {"error": why})
        finally:
            if left:  # told to stop, or an error here
                array.stop()


def waves(tasks: Sequence[Task]) -> list[list[Task]]:
    """Two: first one run of each start model that is not made yet, then the rest, so that no job
    holds a place in a queue only to wait for another one's pretraining."""
    first: dict[str, Task] = {}
    rest: list[Task] = []
    for task in tasks:
        start = unmade(task.run)
        if start is None or start in first:
            rest.append(task)
        else:
            first[start] = task
    return [wave for wave in (list(first.values()), rest) if wave]


def unmade(run: Run) -> str | None:
    """The start model of a run as text, where a stage before align is still to be done."""
    align, store = run.plan.align, Store(artefacts_dir())
    if all(store.has(stage.name, stage.key) for stage in align.parents.values()):
        return None
    start = align.parents.get("start")
    return start.key if start is not None else str(run.plan.start.settings)


@dataclass
class JobArray:
    """The jobs of one wave. name: of all of them in SLURM; jobs: submitit's, by number."""

    folder: Path
    name: str
    jobs: Sequence[Any]

    @classmethod
    def submit(cls, parent: Path, wave: Sequence[Task], parameters: Mapping[str, Any]) -> JobArray:
        """UserError where SLURM refuses them: a queue that is not there, a limit of the site."""
        with disk_errors(parent, FULL + UNWRITABLE):
            parent.mkdir(parents=True, exist_ok=True)
            numbers = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
            folder = parent / str(max(numbers, default=-1) + 1)
            (folder / REPLIES).mkdir(parents=True)
            (folder / TASKS).write_text("".join(payload(t.run, t.trial) for t in wave))
        name = f"{parameters.get('name', 'tiebreak')}-{uuid.uuid4().hex[:8]}"
        command = [sys.executable, "-m", "tiebreak.sweep.engines.slurm", str(folder)]
        submitter = executor(folder / "submitit", {**parameters, "name": name})
        try:
            jobs = submitter.map_array(CommandFunction(command), map(str, range(len(wave))))
        except (FailedJobError, FailedSubmissionError) as error:
            why = " | ".join(str(error).strip().splitlines()[-3:])
            words = f"--engine slurm did no run: {why}; see what --launcher says"
            raise UserError(words) from error
        return cls(folder, name, jobs)

    def is_queued(self) -> bool:
        """Whether some wait or run. A controller that does not answer: suppose so."""
        command = ["squeue", "--noheader", "--array", f"--name={self.name}", "--format=%i"]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode != 0 or bool(done.stdout.split())

    def stop(self) -> None:
        """Cancel what waits; jobs that run read the file, and save a checkpoint first."""
        (self.folder / STOP).touch()
        command = ["scancel", "--state=PENDING", f"--name={self.name}"]
        subprocess.run(command, capture_output=True)

    def replies(self, numbers: Iterable[int]) -> Iterator[tuple[int, WorkerReply]]:
        """Those that are there, of these jobs."""
        there = set(os.listdir(self.folder / REPLIES))
        for number in list(numbers):
            if f"{number}.json" in there:
                yield number, json.loads((self.folder / REPLIES / f"{number}.json").read_text())

    def states(self, numbers: Iterable[int]) -> dict[int, str]:
        """How each of these jobs ended; what may still come late is waited for."""
        limit = time.monotonic() + LATE_SECONDS
        while True:
            watcher = self.jobs[0].watcher
            watcher.update()
            states = {n: watcher.get_state(self.jobs[n].job_id, mode="cache") for n in numbers}
            replied = {number for number, _ in self.replies(numbers)}
            late = [n for n, state in states.items() if state in UNSETTLED and n not in replied]
            if not late or time.monotonic() > limit:
                return {n: state.split()[0] for n, state in states.items()}  # "CANCELLED by 0"
            time.sleep(POLL_SECONDS)

    def explain(self, states: Mapping[int, str]) -> Iterator[tuple[int, str]]:
        """Why each of these jobs gave no result, as far as SLURM knows, and where its log is."""
        stopped = {number for number, reply in self.replies(states) if "stopped" in reply}
        for number, state in states.items():
            why = f"its SLURM job ended as {state}{REMEDIES.get(state, '')}"
            if state == "UNKNOWN":  # accounting has no row of it
                why = "its SLURM job was cancelled before it started"
            if state == "COMPLETED":
                why = "its SLURM job is COMPLETED and gave no answer"
                why = NEAR_ITS_LIMIT if number in stopped else why
            log = self.folder / f"{number}.log"
            yield number, f"{why}; see {log if log.exists() else self.jobs[number].paths.stderr}"


def main() -> None:
    """The program of a cluster's job: one task of FOLDER/tasks.jsonl, done in a child process, so
    that the reply can say what killed it. The reply goes to FOLDER/replies/NUMBER.json, what the
    run prints to FOLDER/NUMBER.log. On SIGTERM, or when there is a file FOLDER/stop, the run saves
    a checkpoint and the job ends."""
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    if (folder / STOP).exists():
        return
    with (folder / f"{number}.log").open("a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    with contextlib.closing(Worker()) as worker:
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        threading.Thread(target=_watch, args=(folder / STOP, worker), daemon=True).start()
        reply = worker.do_line((folder / TASKS).read_text().splitlines()[number])
    path = folder / REPLIES / f"{number}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(reply))
    part.rename(path)  # whoever reads it reads all of it


def _watch(stop: Path, worker: Worker) -> None:
    while not stop.exists():
        time.sleep(WATCH_SECONDS)
    worker.stop()


if __name__ == "__main__":
    main()
