"""Do one run: its stages in order, its mirror, and what its record takes from its artefacts: the
manifest, and the files of an evaluation. Done once, it answers at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tiebreak import provenance
from tiebreak import store as artefacts
from tiebreak.compose import Run
from tiebreak.config.schema import JudgeConfig, JudgeKind
from tiebreak.engine.progress import quiet_libraries
from tiebreak.errors import Busy, UserError
from tiebreak.home import artefacts_dir, checkout, home, runs_dir
from tiebreak.interrupt import Pruned, Stopped
from tiebreak.run import distributed
from tiebreak.run.shares import Beside
from tiebreak.stages.align import check_kind
from tiebreak.stages.evaluators import evaluator_of
from tiebreak.stages.evaluators.evaluator import ITEMS, how_of, read_rows
from tiebreak.stages.evaluators.judged import judge_settings, ready
from tiebreak.stages.overlap import read_overlap, refuse_shared
from tiebreak.stages.stage import Context, OnStep, Paths, Stage, free_memory, make
from tiebreak.stages.tokens import pairs_of, read_report
from tiebreak.store import Artefact, Store
from tiebreak.track import record as records
from tiebreak.track.mirror import Mirror, open_mirror
from tiebreak.track.record import Record, is_done, read_jsonl, read_result
from tiebreak.track.record_format import GENERATIONS, LAYOUT, METRICS, STATUS, TRACE, path_in_record
from tiebreak.track.wandb_environment import is_agents


@dataclass
class Outcome:
    """Where the record is, the evaluation asked for, and the artefacts built or reused for it."""

    folder: Path
    evaluation_id: str
    already: bool = False
    artefacts: dict[tuple[str, str], bool] = field(default_factory=dict)

    def note(self, done: Artefact) -> None:
        """An artefact built by this run stays "built", however often it is read afterwards."""
        at = (done.stage, done.key)
        self.artefacts[at] = self.artefacts.get(at, True) and done.reused


def execute(
    run: Run, say: Callable[[str], None] = lambda line: None, on_step: OnStep | None = None
) -> Outcome:
    """Do what is missing of a run: train its policy, measure what it asks for. Raises UserError;
    the record then says "failed". `on_step` is called after every update and may raise Pruned."""
    distributed.check(run)
    outcome = Outcome(runs_dir() / run.run_id, run.evaluation_id)
    if distributed.rank() > 0:
        quiet_libraries()
        distributed.follow(run)
        return outcome
    with distributed.Others() as others:
        if is_done(outcome.folder, run.evaluation_id, run.evaluators):
            outcome.already = True
            if is_agents():
                _show_again(run, outcome.folder)
        else:
            quiet_libraries()
            with _opened(run) as record, _mirror(run) as mirror:
                log = RunLog(record, mirror, say)
                (record.folder / TRACE).unlink(missing_ok=True)  # of an attempt before this one
                try:
                    _execute(run, log, outcome, on_step, others)
                finally:
                    log.close(sys.exc_info()[1])
                    mirror.record(record.folder)
    return outcome


def _execute(
    run: Run, log: RunLog, outcome: Outcome, on_step: OnStep | None, others: distributed.Others
) -> None:
    store, record, context = Store(artefacts_dir()), log.record, Context(run, log, on_step)
    log.write()

    def made(stage: Stage) -> Path:
        return make(stage, store, context, log.enter, outcome.note)

    ready_to_judge([run])
    if run.trains:
        _train(run, log, store, made, others)
    with Beside(run) as beside:
        for name, measured in run.plan.evaluations.items():
            for at, stage in enumerate(measured.stages):
                made(beside.divided(name, at, stage))
    for stage in run.plan.overlaps.values():
        made(stage)
    record.update_manifest(**manifest(run, store, record, outcome.artefacts))
    result = write_evaluation(run, store, record)
    record.finish(run.evaluation_id, result)
    log.finished = True
    answers = record.folder / path_in_record(GENERATIONS, run.evaluation_id)
    if answers.is_file():
        steps = len((record.folder / METRICS).read_bytes().splitlines()) if run.trains else 0
        log.mirror.generations(steps, read_jsonl(answers))
    log.mirror.summary(result)


def _train(
    run: Run, log: RunLog, store: Store, made: Callable[[Stage], Path], others: distributed.Others
) -> None:
    """The policy, and what it is trained on."""
    tokens = made(run.plan.tokens)  # first: a mistake in the data must not wait for SFT
    for stage in (run.plan.held_out, *run.plan.pair_rows.values()):
        made(stage)
    check_kind(run, tokens)
    for text in token_lines(run, store):
        log.say(text)
    for name, rows in run.plan.pair_rows.items():
        refuse_shared(run, name, made(rows), made(run.plan.overlaps[name]))
    if distributed.world_size() > 1:
        distributed.prepare(run)
    log.follow(made(_align(run, log, others)) / METRICS)
    log.position = log.checkpoints = None


def ready_to_judge(runs: Sequence[Run]) -> list[str]:
    """What the judges that these runs will ask cost at most, in words, each judge once. UserError
    before anything is computed where one cannot be asked, or costs what nobody confirmed."""
    store, judged = Store(artefacts_dir()), dict[JudgeConfig, list[Run]]()
    for run in runs:
        if run.evaluation.judge.kind is not JudgeKind.NONE:
            judged.setdefault(run.evaluation.judge, []).append(run)
    told: list[str | None] = []
    for members in judged.values():
        to_come: dict[tuple[str, str], Any] = {}
        for run in members:
            for name, measured in run.plan.evaluations.items():
                calls = evaluator_of(name, run.evaluation).calls
                for stage in measured.stages if calls is not None else ():
                    of_policy = measured.start is not None and stage is measured.policy
                    if calls is not None and not store.has(stage.name, stage.key):
                        to_come[stage.name, stage.key] = partial(calls, run, of_policy)
        told.append(ready(members[0], list(to_come.values())))
    return [words for words in told if words is not None]


def _align(run: Run, log: RunLog, others: distributed.Others) -> Stage:
    """The align stage, to be trained here, or beside torchrun's other processes, or by processes
    that are started for it."""
    align, beside = run.plan.align, distributed.world_size() > 1

    def build(context: Context, work: Path, paths: Paths) -> None:
        if beside:
            others.tell(True)
            return align.build(context, work, paths)
        free_memory()  # of the stages before it: the others want the device
        distributed.train(run, work, log)

    several = beside or run.train.execution.num_processes > 1
    return replace(align, build=build) if several else align


def _mirror(run: Run) -> Mirror:
    return open_mirror(run.tracker, run.run_id, run.group_id, run.names, run.resolved, home())


def _show_again(run: Run, folder: Path) -> None:
    """A W&B sweep that asks for a finished run waits for its numbers."""
    with _mirror(run) as mirror:
        for row in read_jsonl(folder / METRICS) if run.trains else ():
            mirror.log(row.pop("step"), row)
        mirror.summary(read_result(folder, run.evaluation_id))
        mirror.record(folder)


def _opened(run: Run) -> Record:
    import yaml

    manifest = {
        "run_id": run.run_id, "group_id": run.group_id, "names": run.names, "seed": run.seed,
        "stages": [], "hashes": _hashes(run), "dropped": {},
        "versions": provenance.versions(), "git": provenance.git(checkout()),
        "host": provenance.host(),
    }  # fmt: skip
    config = yaml.safe_dump(run.resolved, sort_keys=False, allow_unicode=True)
    return Record.open(runs_dir() / run.run_id, config, manifest)


def _hashes(run: Run) -> dict[str, str]:
    """What a manifest knows before anything is made: the rows that are trained or measured on."""
    return {"data": run.data_hash} if run.data.has_rows else {}


def failed_elsewhere(run: Run, why: str) -> None:
    """Say so in the record of a run whose process could not: it died, or never came so far."""
    folder = runs_dir() / run.run_id
    status = records.read_status(folder)
    if status is None:
        with contextlib.suppress(Busy), _opened(run) as record:  # else another has just begun it
            record.status("failed", error=why)
    elif status["status"] in ("running", "stopped") and not records.is_live(folder):
        records.write_json(folder / STATUS, {**status, "status": "failed", "error": why})


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

    def enter(self, stage: Stage) -> None:
        self.stage = stage.name
        self.write()

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None:
        self.record.resume(resumed_at)
        self.position, self.checkpoints = (resumed_at, steps), checkpoints
        self.follow(checkpoints.parent / METRICS)
        if resumed_at:
            self.say(f"resumed from the checkpoint at step {resumed_at} of {steps}")
        self.write()

    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None:
        self.record.throughput(step, speed)
        assert self.position is not None and self.checkpoints is not None, "training has begun"
        self.position = (step, self.position[1])
        self.follow(self.checkpoints.parent / METRICS, {step: speed})
        self.write()

    def follow(self, log: Path, speeds: Mapping[int, Mapping[str, float]] | None = None) -> None:
        """The artefact's training log in the record, and what is new of it in the mirror."""
        for row in self.record.copy_log(log):
            step = row.pop("step")
            self.mirror.log(step, {**row, **(speeds or {}).get(step, {})})

    def write(self, status: str = "running", error: str | None = None) -> None:
        from tiebreak.engine.checkpoints import last_checkpoint

        step, steps = self.position or (None, None)
        last = last_checkpoint(self.checkpoints, clean=False) if self.checkpoints else None
        path = last.relative_to(artefacts_dir()).as_posix() if last else None
        self.record.status(
            status, stage=self.stage, step=step, steps=steps, error=error, last_checkpoint=path
        )

    def close(self, error: BaseException | None) -> None:
        """The last word of a run that did not finish: failed, pruned or only stopped."""
        if self.finished:
            return
        if error is None or isinstance(error, KeyboardInterrupt | Stopped):
            return self.write("stopped", error="told to stop; the same command goes on")
        if isinstance(error, BrokenPipeError):
            return self.write("stopped", error="its output was closed; the same command goes on")
        if isinstance(error, Pruned | UserError):
            return self.write("pruned" if isinstance(error, Pruned) else "failed", str(error))
        trace = "".join(traceback.format_exception(error))
        (self.record.folder / TRACE).write_text(trace)
        self.write("failed", error=f"{type(error).__name__}: {error}".splitlines()[0])


def write_evaluation(run: Run, store: Store, record: Record) -> dict[str, Any]:
    """Write the files of the evaluation that a run asks for; returns the content of its
    result.json, in which what other evaluators left there earlier stays."""
    metrics: dict[str, float] = {}
    of_start: dict[str, float] = {}
    for name, measured in run.plan.evaluations.items():
        evaluator = evaluator_of(name, run.evaluation)
        *before, policy = (
            read_rows(store.path(stage.name, stage.key) / ITEMS) for stage in measured.stages
        )
        start = before[0] if before else None
        metrics |= evaluator.metrics(policy)
        if start is not None:
            metrics |= evaluator.compared(start, policy, run)
            of_start |= evaluator.metrics(start)
        for file, content in evaluator.record_files(start, policy).items():
            path = path_in_record(file, run.evaluation_id)
            if file.endswith(".parquet"):
                record.write_parquet(path, content)
            else:
                record.write_jsonl(path, content)
    earlier = read_result(record.folder, run.evaluation_id)
    kept = earlier.get("start", {}).get("metrics", {})
    how = {**earlier.get("how", {}), **_how(run, store)}
    found = {name: read_overlap(store.path(stage.name, stage.key))
             for name, stage in run.plan.overlaps.items()}  # fmt: skip
    shared = {**earlier.get("overlap", {}), **found}
    return {
        **({"overlap": shared} if shared else {}),
        **({"how": how} if how else {}),
        "evaluators": {**earlier.get("evaluators", {}), **run.evaluators},
        "settings": run.resolved["evaluation"] | judge_settings(run),
        "metrics": {**earlier.get("metrics", {}), **metrics},
        "start": {"model": start_model(run, store), "metrics": {**kept, **of_start}},
    }


def _how(run: Run, store: Store) -> dict[str, dict[str, Any]]:
    """Evaluator -> how it was computed on the policy, and on the start model, where it says so."""
    found: dict[str, dict[str, Any]] = {}
    for name, measured in run.plan.evaluations.items():
        for stage in measured.stages:
            role = "policy" if stage is measured.policy else "start"
            if said := how_of(store.path(stage.name, stage.key)):
                found.setdefault(name, {})[role] = said
    return found


def start_model(run: Run, store: Store) -> str:
    """sha256 of the start model's weights; for a Hub model its id and commit."""
    start = run.plan.start
    if start.stage is None:
        return str(start.settings["checkpoint"])
    return artefacts.weights_hash(store.path(start.stage.name, start.stage.key))


def manifest(run: Run, store: Store, record: Record, reused: dict[Any, bool]) -> dict[str, Any]:
    """What the manifest learns during a run. reused: (stage, key) -> whether it was there before
    this process; what an earlier process of this run built stays "built"."""
    known = {(e["stage"], e["key"]): e["reused"] for e in record.manifest["stages"]}
    now = {(s.name, s.key): reused.get((s.name, s.key), True) for s in run.plan.stages()}
    all_stages = {**known, **{at: known.get(at, True) and was for at, was in now.items()}}
    reports, policy = _reports(run, store), store.path("align", run.plan.align.key)
    layout, start = policy / LAYOUT, start_model(run, store)
    return {
        "stages": [{"stage": s, "key": k, "reused": was} for (s, k), was in all_stages.items()],
        "hashes": {
            **_hashes(run),
            "start_model": start,
            "model": artefacts.weights_hash(policy) if run.trains else start,
            **({"tokens": reports["train"]["content"]} if run.trains else {}),
        },
        "dropped": {side: report["dropped"] for side, report in reports.items()},
        "host": provenance.host(_devices()),
        **({"layout": json.loads(layout.read_text())} if layout.is_file() else {}),
    }


def _reports(run: Run, store: Store) -> dict[str, dict[str, Any]]:
    """Side of the data -> the report on its rows as token ids."""
    sides = {"train": run.plan.tokens, str(run.evaluation.split): run.plan.held_out}
    sides |= {pairs_of(name): rows for name, rows in run.plan.pair_rows.items()}
    used = {stage.key for stage in run.plan.stages() if stage.name == "tokens"}
    return {side: read_report(store.path(of.name, of.key))
            for side, of in sides.items() if of.key in used}  # fmt: skip


def token_lines(run: Run, store: Store) -> Iterator[str]:
    """What a user should know of the rows before training: dropped by reason, and warnings."""
    for side, report in _reports(run, store).items():
        if report["dropped"]:
            reasons = ", ".join(f"{n} {reason}" for reason, n in report["dropped"].items())
            yield f"{side}: {report['rows']} rows kept, dropped {reasons}"
        for finding in report["findings"]:
            yield f"{side}: {finding['code']}: {finding['message']}"


def _devices() -> list[str]:
    """Names of the accelerators, if this process computed anything."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
