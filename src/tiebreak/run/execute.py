"""Run one: its stages in order, its record, its mirror. Done once, it answers at once."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tiebreak import interrupt, provenance
from tiebreak.config.identity import group_id, run_id
from tiebreak.config.schema import Run
from tiebreak.errors import Busy, UserError
from tiebreak.home import artefacts_dir, checkout, home, runs_dir
from tiebreak.interrupt import Pruned, Stopped
from tiebreak.run import processes, ranks
from tiebreak.run.results import Made, data_hash, token_lines
from tiebreak.stages.align import METRICS, Line, Look, check_kind
from tiebreak.stages.evaluate import evaluation_stages
from tiebreak.stages.stage import Paths, Stage, ensure
from tiebreak.store import Artefact, Store
from tiebreak.track.environment import is_agents
from tiebreak.track.mirror import Mirror, open_mirror
from tiebreak.track.record import Record, is_finished, mark_failed, read_result, read_status
from tiebreak.track.record_format import TRACE


@dataclass
class Outcome:
    """Where the record is, and which artefacts were built or reused for it."""

    folder: Path
    already: bool = False
    artefacts: dict[tuple[str, str], bool] = field(default_factory=dict)

    def note(self, done: Artefact) -> None:
        """An artefact built by this run stays "built", however often it is read afterwards."""
        at = (done.stage, done.key)
        self.artefacts[at] = self.artefacts.get(at, True) and done.reused


def execute(
    run: Run, say: Callable[[str], None] = lambda line: None, look: Look | None = None
) -> Outcome:
    """Do what is missing of this run. Raises UserError; the record then says "failed".

    `look` is called after every update of the policy and may raise Pruned.
    """
    ranks.check(run)
    outcome = Outcome(runs_dir() / run_id(run))
    if ranks.rank() > 0:
        quiet_libraries()
        ranks.follow(run)
        return outcome
    with ranks.Others() as others:
        if is_finished(outcome.folder):
            outcome.already = True
            if is_agents():
                _show_again(run, outcome.folder)
        else:
            _recorded(run, outcome, say, look, others)
    return outcome


def _recorded(
    run: Run, outcome: Outcome, say: Callable[[str], None], look: Look | None, others: ranks.Others
) -> None:
    from omegaconf import OmegaConf

    quiet_libraries()
    folder = outcome.folder
    with Record.open(folder, OmegaConf.to_yaml(run.resolved), _manifest(run)) as record:
        mirror = _mirror(run)
        log = RunLog(record, mirror, say)
        (folder / TRACE).unlink(missing_ok=True)  # of an attempt before this one
        with mirror:
            try:
                _execute(run, record, log, outcome, _line(run, log, look, others))
            finally:
                log.close(sys.exc_info()[1])
                mirror.record(folder)


def _line(run: Run, log: RunLog, look: Look | None, others: ranks.Others) -> Line:
    """The stages of a run. Align is trained here, or beside torchrun's other processes, or by
    processes that are started for it."""
    line = Line.of(run, log, look)
    if ranks.world_size() > 1:
        return replace(line, align=others.beside(line.align))
    if run.train.execution.num_processes == 1:
        return line

    def build(work: Path, paths: Paths) -> None:
        _free_memory()  # of the stages before it: the others want the device
        processes.train(run, work, log)

    return replace(line, align=replace(line.align, build=build))


def _execute(run: Run, record: Record, log: RunLog, outcome: Outcome, line: Line) -> None:
    store = Store(artefacts_dir())
    made = Made(run, line, store, outcome.artefacts)

    def built(stage: Stage) -> Path:
        interrupt.check()
        log.stage = stage.name
        log.write()
        path = ensure(stage, store, outcome.note).path
        _free_memory()
        return path

    tokens = built(line.tokens)  # first: a mistake in the data must not wait for SFT
    check_kind(run, tokens)
    for text in token_lines(made.report()):
        log.say(text)
    if ranks.world_size() > 1:
        ranks.prepare(run)
    log.replay(built(line.align) / METRICS)
    for stage in evaluation_stages(run, line):
        built(stage)
    record.update_manifest(**made.manifest())
    result, generations = made.write(record)
    record.finish(result)
    log.finished = True
    log.mirror.generations(last_step(record.folder / METRICS), generations)
    log.mirror.summary(result)


def _mirror(run: Run) -> Mirror:
    return open_mirror(
        run.tracker, run_id(run), group_id(run), run.names, run.resolved, home(), seed=run.seed
    )


def _show_again(run: Run, folder: Path) -> None:
    """A W&B sweep that asks for a finished run waits for its numbers."""
    with _mirror(run) as mirror:
        for line in (folder / METRICS).read_text().splitlines():
            row = json.loads(line)
            mirror.log(row.pop("step"), row)
        mirror.summary(read_result(folder))
        mirror.record(folder)


def last_step(metrics: Path) -> int:
    """The optimiser steps of a training log."""
    return len(metrics.read_text().splitlines())


def _free_memory() -> None:
    """A stage's model and optimiser go before the next stage loads its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _manifest(run: Run) -> dict[str, Any]:
    return {
        "run_id": run_id(run),
        "group_id": group_id(run),
        "names": run.names,
        "seed": run.seed,
        "stages": [],
        "hashes": {"data": data_hash(run)},
        "dropped": {},
        "versions": provenance.versions(),
        "git": provenance.git(checkout()),
        "host": provenance.host(),
    }


def failed_elsewhere(run: Run, why: str) -> None:
    """Say so in the record of a run whose process could not: it died, or never came so far."""
    from omegaconf import OmegaConf

    folder = runs_dir() / run_id(run)
    if read_status(folder) is not None:
        return mark_failed(folder, why)
    with contextlib.suppress(Busy):  # another process has just begun it
        with Record.open(folder, OmegaConf.to_yaml(run.resolved), _manifest(run)) as record:
            record.status("failed", error=why)


@dataclass
class RunLog:
    """Training reports here; it goes to the record and the mirror."""

    record: Record
    mirror: Mirror
    say: Callable[[str], None]
    stage: str | None = None
    position: tuple[int, int] | None = None
    checkpoints: Path | None = None
    finished: bool = False

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None:
        self.record.cut_back(resumed_at)
        self._add((checkpoints.parent / METRICS).read_text(), self._recorded_steps())
        self.position, self.checkpoints = (resumed_at, steps), checkpoints
        if resumed_at:
            self.say(f"resumed from the checkpoint at step {resumed_at} of {steps}")
        self.write()

    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None:
        self.record.metrics(step, metrics)
        self.record.throughput(step, speed)
        self.mirror.log(step, {**metrics, **speed})
        if self.position:
            self.position = (step, self.position[1])
            self.write()

    def replay(self, path: Path) -> None:
        """The whole training log in the record, also when the policy was trained before."""
        kept, ours = path.read_text(), self.record.folder / METRICS
        if not ours.is_file() or ours.read_text() != kept:
            self.record.cut_back(0)
            self._add(kept, 0)
        self.position = self.checkpoints = None

    def _recorded_steps(self) -> int:
        ours = self.record.folder / METRICS
        return last_step(ours) if ours.is_file() else 0

    def _add(self, kept: str, after: int) -> None:
        """Steps of a training log that were trained for somebody else, or for nobody: ranks whose
        run was killed go on to their checkpoint."""
        for line in kept.splitlines()[after:]:
            row = json.loads(line)
            step = row.pop("step")
            self.record.metrics(step, row)
            self.mirror.log(step, row)

    def write(self, status: str = "running", error: str | None = None) -> None:
        step, steps = self.position or (None, None)
        self.record.status(
            status, stage=self.stage, step=step, steps=steps, error=error,
            last_checkpoint=self._last_checkpoint(),
        )  # fmt: skip

    def _last_checkpoint(self) -> str | None:
        """Relative to the artefacts, while training writes them."""
        from tiebreak.engine.checkpoints import last_checkpoint

        found = last_checkpoint(self.checkpoints, clean=False) if self.checkpoints else None
        return found.relative_to(artefacts_dir()).as_posix() if found else None

    def close(self, error: BaseException | None) -> None:
        """The last word of a run that did not finish: failed, pruned or only stopped."""
        if self.finished:
            return
        if error is None or isinstance(error, KeyboardInterrupt | Stopped):
            return self.write("stopped", error="told to stop; the same command goes on")
        if isinstance(error, BrokenPipeError):
            return self.write("stopped", error="its output was closed; the same command goes on")
        if isinstance(error, Pruned):
            return self.write("pruned", error=str(error))
        if isinstance(error, UserError):
            return self.write("failed", error=str(error))
        trace = "".join(traceback.format_exception(error))
        (self.record.folder / TRACE).write_text(trace)
        self.write("failed", error=f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def quiet_libraries() -> None:
    """No telemetry, no chatter, no bars of others: progress is ours to show."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    # peft 0.21 asks transformers 5.23 for an attribute by its old name.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
