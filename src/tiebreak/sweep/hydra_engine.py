"""Engines that are Hydra launchers: a multirun carries the tasks, answers come back in files.

The tasks that are there now are written to JOBS/NUMBER/plan.jsonl, and one multirun of
`tiebreak.sweep.hydra_jobs` does them. Answers are taken as they appear; how the multirun itself
ended says nothing about any job. A job that leaves no answer has failed.

Launchers write pickles of their own (submitit into hydra/.submitit). They stay in the folder of
their multirun and are read by nothing of ours.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tiebreak.config.compose import quoted
from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.run.execute import failed_elsewhere
from tiebreak.run.worker import payload
from tiebreak.store import FULL, UNWRITABLE, Store, disk_errors
from tiebreak.sweep import slurm
from tiebreak.sweep.hydra_jobs import ANSWERS, PLAN, STOP
from tiebreak.sweep.local_workers import Told
from tiebreak.sweep.tasks import Answer, Task, Tasks

LOG = "launcher.log"
POLL_SECONDS, SLURM_POLL_SECONDS = 0.2, 2.0
GRACE_SECONDS = 20.0  # submitit waits for ever for a job that was cancelled before it started


@dataclass(frozen=True)
class Launcher:
    """package: what it is in, with the pip argument; settings: for a number of workers."""

    package: tuple[str, str] | None
    settings: Callable[[int], list[str]]


LAUNCHERS: Mapping[str, Launcher] = {
    "basic": Launcher(None, lambda n: []),
    "joblib": Launcher(
        ("hydra-joblib-launcher", "'tiebreak[joblib]'"), lambda n: [f"hydra.launcher.n_jobs={n}"]
    ),
    # submitit ends a local job after an hour, unless told otherwise.
    "submitit_local": Launcher(
        ("hydra-submitit-launcher", "'tiebreak[slurm]'"),
        lambda n: [f"hydra.sweeper.max_batch_size={n}", "hydra.launcher.timeout_min=43200"],
    ),
    "submitit_slurm": Launcher(
        ("hydra-submitit-launcher", "'tiebreak[slurm]'"),
        lambda n: [f"hydra.launcher.array_parallelism={n}"],
    ),
    "ray": Launcher(
        ("hydra-ray-launcher", "hydra-ray-launcher, in an environment of its own (docs/scale.md)"),
        lambda n: [f"+hydra.launcher.ray.init.num_cpus={n}",
                   "+hydra.launcher.ray.init.include_dashboard=false",
                   "+hydra.launcher.ray.remote.max_retries=0"],
    ),
}  # fmt: skip


def check_launcher(name: str) -> None:
    """Refuse before the first run what cannot work here."""
    package = LAUNCHERS[name].package
    if package is not None:
        try:
            metadata.version(package[0])
        except metadata.PackageNotFoundError:
            raise UserError(
                f"--engine {name} needs {package[0]}; install it: pip install {package[1]}"
            ) from None
    if name == "submitit_slurm":
        slurm.check()


@dataclass
class HydraEngine:
    """Does tasks by multiruns of one launcher. folder: takes a subfolder for each; settings: more
    of the launcher's, as KEY=VALUE."""

    launcher: str
    workers: int
    folder: Path
    settings: Sequence[str] = ()
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, tasks: Tasks, told: Told) -> None:
        """`told` hears of each answer, one at a time."""

        def tell(task: Task, answer: Answer) -> None:
            if "error" in answer:
                failed_elsewhere(task.run, answer["error"])
            tasks.answer(task, answer)
            told(task, answer)

        while not self._stopping.is_set() and (now := self._available(tasks)):
            for wave in waves(now):
                if not self._stopping.is_set():
                    self._do(wave, tell)

    def stop(self) -> None:
        """No new tasks; those in hand save a checkpoint and leave."""
        self._stopping.set()

    def _available(self, tasks: Tasks) -> list[Task]:
        """All tasks there are now; of a search only as many as run at once, for it learns."""
        found: list[Task] = []
        while (task := tasks.next()) is not None:
            found.append(task)
            if task.trial is not None and len(found) >= self.workers:
                break
        return found

    def _do(self, wave: Sequence[Task], tell: Told) -> None:
        multirun = Multirun.new(self.launcher, self.folder, wave)
        left = dict(enumerate(wave))

        def take() -> None:
            for number, answer in multirun.answers(left):
                if "stopped" in answer and multirun.slurm and not self._stopping.is_set():
                    continue  # SLURM told it to stop, and knows why
                tell(left.pop(number), answer)

        with multirun.started(self.workers, self.settings):
            while multirun.is_going():
                if self._stopping.is_set():
                    multirun.stop()
                take()
                time.sleep(SLURM_POLL_SECONDS if multirun.slurm else POLL_SECONDS)
            take()
        if self._stopping.is_set():
            return
        if len(left) == len(wave):
            multirun.refuse_unstarted()
        for number, why in multirun.explain(left):
            tell(left[number], {"error": why})


def waves(tasks: Sequence[Task]) -> list[list[Task]]:
    """Two: first one run of each start model that is not made yet, then the rest.

    So that no job holds a place in a queue only to wait for another one's pretraining.
    """
    first: dict[str, int] = {}
    for number, task in enumerate(tasks):
        start = unmade(task.run)
        if start is not None:
            first.setdefault(start, number)
    early = set(first.values())
    both = [[t for n, t in enumerate(tasks) if (n in early) is wanted] for wanted in (True, False)]
    return [wave for wave in both if wave]


def unmade(run: Run) -> str | None:
    """The start model of a run as text, where a stage before align is still to be done."""
    from tiebreak.stages.align import Line

    line, store = Line.of(run), Store(artefacts_dir())
    keys = [(stage.name, stage.key(store)) for stage in line.align.parents.values()]
    if all(key is not None and store.has(name, key) for name, key in keys):
        return None
    return json.dumps(line.start.identity, sort_keys=True)


@dataclass
class Multirun:
    """One process of Hydra with its plan, in a folder. name: of its jobs in SLURM."""

    launcher: str
    folder: Path
    jobs: int
    name: str
    _process: subprocess.Popen[bytes] | None = None
    _idle_since: float | None = None
    _stopped: bool = False

    @classmethod
    def new(cls, launcher: str, parent: Path, wave: Sequence[Task]) -> Multirun:
        with disk_errors(parent, FULL + UNWRITABLE):
            parent.mkdir(parents=True, exist_ok=True)
            numbers = [int(one.name) for one in parent.iterdir() if one.name.isdecimal()]
            folder = parent / str(max(numbers, default=-1) + 1)
            (folder / ANSWERS).mkdir(parents=True)
            (folder / PLAN).write_text("".join(payload(t.run, t.trial) for t in wave))
        return cls(launcher, folder, len(wave), f"tiebreak-{uuid.uuid4().hex[:8]}")

    @property
    def slurm(self) -> bool:
        return self.launcher == "submitit_slurm"

    @contextmanager
    def started(self, workers: int, settings: Sequence[str]) -> Generator[None]:
        """Inside, it goes on; when the block is left by an error, its jobs are told to stop."""
        with (self.folder / LOG).open("wb") as log:
            process = self._process = subprocess.Popen(
                self.command(workers, settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C reaches the sweep, which tells the jobs
            )  # fmt: skip
        try:
            yield
        finally:
            if process.poll() is None:
                self.stop()
            process.wait()

    def command(self, workers: int, settings: Sequence[str]) -> list[str]:
        here = self.launcher in ("basic", "joblib", "submitit_local")
        name = [f"hydra.launcher.name={self.name}"] if self.slurm else []
        return [
            sys.executable, "-m", "tiebreak.sweep.hydra_jobs", "--multirun",
            f"+job=range(0,{self.jobs})", f"+folder={quoted(str(self.folder))}",
            f"+owner={os.getpid() if here else 0}",
            f"hydra/launcher={self.launcher}",
            f"hydra.sweep.dir={quoted(str(self.folder / 'hydra'))}",
            "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none",
            *LAUNCHERS[self.launcher].settings(workers), *name,
            *(f"hydra.launcher.{one}" for one in settings),
        ]  # fmt: skip

    def is_going(self) -> bool:
        """Until the process has ended and SLURM has no job of ours."""
        assert self._process is not None
        alive = self._process.poll() is None
        if not self.slurm:
            return alive
        if slurm.is_queued(self.name) or (alive and not self._submitted()):
            self._idle_since = None
            return True
        self._idle_since = self._idle_since or time.monotonic()
        if alive and time.monotonic() - self._idle_since > GRACE_SECONDS:
            self._process.terminate()
            return False
        return alive

    def stop(self) -> None:
        if not self._stopped:
            (self.folder / STOP).touch()
            self._stopped = True
        if self.slurm:  # again each time: a job may have been submitted meanwhile
            slurm.cancel_waiting(self.name)

    def answers(self, numbers: Iterable[int]) -> Generator[tuple[int, Answer]]:
        for number in list(numbers):
            path = self.folder / ANSWERS / f"{number}.json"
            if path.is_file():
                yield number, json.loads(path.read_text())

    def refuse_unstarted(self) -> None:
        """UserError where the launcher itself refused: a setting it does not have, a queue."""
        assert self._process is not None
        if self._process.returncode > 0 and not self._submitted():
            lines = [x for x in (self.folder / LOG).read_text().splitlines() if x.strip()]
            said = " | ".join(line.strip() for line in lines[-3:])
            raise UserError(
                f"--engine {self.launcher} did no run: {said}; see {self.folder / LOG}, and what "
                "--launcher says"
            )

    def explain(self, numbers: Iterable[int]) -> Generator[tuple[int, str]]:
        """Why each of these jobs gave no answer, as far as is known."""
        found = slurm.states(self.name) if self.slurm else {}
        for number in list(numbers):
            why = slurm.words(found, number, self.jobs) if self.slurm else "its job gave no answer"
            yield number, f"{why}; see {self.folder / LOG}"

    def _submitted(self) -> bool:
        """submitit makes a folder named by the id of each job it has submitted."""
        made = (self.folder / "hydra" / ".submitit").glob("*")
        return any(re.fullmatch(r"\d+(_\d+)?", one.name) for one in made)
