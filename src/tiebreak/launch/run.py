"""Run one: its stages in order, its record, its mirror. Done once, it answers at once."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiebreak import provenance
from tiebreak import store as artefacts
from tiebreak.config.identity import data_content, group_id, run_id
from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir, checkout, home, runs_dir
from tiebreak.stages.align import METRICS, Line, check_kind
from tiebreak.stages.evaluate import evaluation_stages, evaluator_inputs
from tiebreak.stages.stage import Stage, ensure
from tiebreak.store import Artefact, Store
from tiebreak.track.mirror import Mirror, open_mirror
from tiebreak.track.record import Record, is_finished


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


def execute(run: Run, say: Callable[[str], None] = lambda line: None) -> Outcome:
    """Do what is missing of this run. Raises UserError; the record then says "failed"."""
    folder = runs_dir() / run_id(run)
    outcome = Outcome(folder)
    if is_finished(folder):
        outcome.already = True
        return outcome
    from tiebreak.launch import ranks

    quiet_libraries()
    if ranks.world_size() > 1:
        ranks.prepare(run)
        if ranks.rank() > 0:
            ranks.follow(run)
            return outcome
    from omegaconf import OmegaConf

    with Record.open(folder, OmegaConf.to_yaml(run.resolved), _manifest(run)) as record:
        mirror = open_mirror(
            run.tracker, run_id(run), group_id(run), run.names, run.resolved, home(), seed=run.seed
        )
        log = RunLog(record, mirror, say)
        try:
            with mirror:
                _execute(run, record, log, outcome)
        finally:
            log.fail_unless_finished(sys.exc_info()[1])
    return outcome


def _execute(run: Run, record: Record, log: RunLog, outcome: Outcome) -> None:
    store = Store(artefacts_dir())
    line = Line.of(run, log)
    start_stage, policy_stage = evaluation_stages(run, line)

    def built(stage: Stage) -> Path:
        log.stage = stage.name
        log.write()
        return ensure(stage, store, outcome.note).path

    tokens = built(line.tokens)  # first: a mistake in the data must not wait for SFT
    check_kind(run, tokens)
    policy = built(line.align)
    log.replay(policy / METRICS)
    before, after = built(start_stage), built(policy_stage)
    generations = [ensure(s.parents["generations"], store, outcome.note).path
                   for s in (start_stage, policy_stage)]  # fmt: skip
    record.update_manifest(**_facts(run, line, store, outcome, policy))
    result = _write_results(record, log.mirror, generations, before, after, store, line)
    record.finish(result)
    log.mirror.summary(result)
    log.finished = True


def _write_results(
    record: Record, mirror: Mirror, generations: list[Path], before: Path, after: Path,
    store: Store, line: Line,
) -> dict[str, Any]:  # fmt: skip
    from tiebreak.stages import summary

    start = summary.Evaluated.read(generations[0], before)
    policy = summary.Evaluated.read(generations[1], after)
    rows = summary.generation_rows(start, policy)
    record.write_jsonl("generations.jsonl", rows)
    record.write_parquet("pairs.parquet", summary.pair_columns(start, policy))
    items = summary.item_columns(start, policy)
    if items is not None:
        (record.folder / "items").mkdir(exist_ok=True)
        record.write_parquet("items/gold.parquet", items)
    mirror.generations(0, rows)
    metrics = summary.metrics(policy) | summary.against_start(start, policy)
    start_hash = start_model_hash(line, store)
    return {"metrics": metrics, "start": {"model": start_hash, "metrics": summary.metrics(start)}}


def start_model_hash(line: Line, store: Store) -> str:
    """sha256 of the start model's weights (a Hub id with its revision for remote ones)."""
    if line.start.stage is None:
        return str(line.start.identity["checkpoint"])
    key = line.start.stage.key(store)
    assert key is not None
    return artefacts.weights_hash(store.path(line.start.stage.name, key))


def _facts(run: Run, line: Line, store: Store, outcome: Outcome, policy: Path) -> dict[str, Any]:
    """What the manifest learns during the run."""
    tokens_key = line.tokens.key(store)
    assert tokens_key is not None
    report = json.loads((store.path("tokens", tokens_key) / "report.json").read_text())
    stages = [{"stage": s, "key": k, "reused": r} for (s, k), r in outcome.artefacts.items()]
    return {
        "stages": stages,
        "hashes": {
            "data": artefacts.key("data", data_content(run)),
            "start_model": start_model_hash(line, store),
            "model": artefacts.weights_hash(policy),
            "tokens": report["train"]["content"],
            "evaluator": artefacts.key("evaluator", evaluator_inputs(run, line)),
        },
        "dropped": {side: report[side]["dropped"] for side in ("train", "test")},
    }


def _manifest(run: Run) -> dict[str, Any]:
    return {
        "run_id": run_id(run),
        "group_id": group_id(run),
        "names": run.names,
        "seed": run.seed,
        "stages": [],
        "hashes": {},
        "dropped": {},
        "versions": provenance.versions(),
        "git": provenance.git(checkout()),
        "host": provenance.host(),
    }


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
            for line in kept.splitlines():
                row = json.loads(line)
                step = row.pop("step")
                self.record.metrics(step, row)
                self.mirror.log(step, row)
        self.position = self.checkpoints = None

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

    def fail_unless_finished(self, error: BaseException | None) -> None:
        if not self.finished:
            what = f"{type(error).__name__}: {error}" if error else "stopped"
            if isinstance(error, KeyboardInterrupt):
                what = "stopped by its user; the same command goes on"
            if isinstance(error, UserError):
                what = str(error)
            self.write("failed", error=what)


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
