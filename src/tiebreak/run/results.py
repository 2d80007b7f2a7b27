"""From a run's artefacts to its record: the manifest, and the files of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from tiebreak import provenance
from tiebreak import store as artefacts
from tiebreak.compose import Run
from tiebreak.stages.evaluators import EVALUATORS
from tiebreak.stages.evaluators.evaluator import ITEMS, read_rows
from tiebreak.stages.stage import Stage
from tiebreak.stages.tokens import read_report
from tiebreak.store import Store
from tiebreak.track.record import Record
from tiebreak.track.record_format import path_in_record


def write_evaluation(run: Run, store: Store, record: Record) -> dict[str, Any]:
    """The files of the evaluation that a run asks for; returns the content of its result.json.

    What other evaluators left there earlier stays.
    """
    metrics: dict[str, float] = {}
    of_start: dict[str, float] = {}
    for name, measured in run.plan.evaluations.items():
        evaluator = EVALUATORS[name]
        start, policy = (
            read_rows(store.path(stage.name, stage.key) / ITEMS)
            for stage in (measured.start, measured.policy)
        )
        metrics |= evaluator.metrics(policy) | evaluator.compared(start, policy, run)
        of_start |= evaluator.metrics(start)
        for file, content in evaluator.files(start, policy).items():
            path = path_in_record(file, run.evaluation_id)
            if file.endswith(".parquet"):
                record.write_parquet(path, content)
            else:
                record.write_jsonl(path, content)
    before = record.earlier_result(run.evaluation_id)
    kept = before.get("start", {}).get("metrics", {})
    return {
        "evaluators": {**before.get("evaluators", {}), **run.evaluators},
        "settings": run.resolved["evaluation"],
        "metrics": {**before.get("metrics", {}), **metrics},
        "start": {"model": start_model(run, store), "metrics": {**kept, **of_start}},
    }


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
    stages = {**known, **{at: known.get(at, True) and was for at, was in now.items()}}
    reports = {
        str(side): read_report(store.path(stage.name, stage.key))
        for side, stage in sides(run).items()
    }
    return {
        "stages": [
            {"stage": stage, "key": key, "reused": was} for (stage, key), was in stages.items()
        ],
        "hashes": {
            "data": run.data_hash,
            "start_model": start_model(run, store),
            "model": artefacts.weights_hash(store.path("align", run.plan.align.key)),
            "tokens": reports["train"]["content"],
        },
        "dropped": {side: report["dropped"] for side, report in reports.items()},
        "host": provenance.host(_devices()),
    }


def sides(run: Run) -> dict[str, Stage]:
    """Side of the data -> the stage of its token ids."""
    return {"train": run.plan.tokens, str(run.evaluation.split): run.plan.held_out}


def token_lines(run: Run, store: Store) -> Iterator[str]:
    """What a user should know of the rows before training: dropped by reason, and warnings."""
    for side, stage in sides(run).items():
        report = read_report(store.path(stage.name, stage.key))
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
