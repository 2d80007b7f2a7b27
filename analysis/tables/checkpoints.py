"""Checkpoints that were not trained here, beside runs that were measured alike (what alike is)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tiebreak.metrics import EVALUATION, evaluation_metric
from tiebreak_analysis.records.runs import Record

EVALUATORS = {metric.evaluator for metric in EVALUATION}


def newest(records: Iterable[Record]) -> dict[str, str]:
    """Evaluator -> its key in the run that was finished last."""
    found: dict[str, str] = {}
    for record in sorted(records, key=lambda record: (_finished(record), record.run_id)):
        found |= record.evaluators
    return found


def _finished(record: Record) -> str:
    return str(record.manifest.get("times", {}).get("finished") or "")


def beside(
    members: Sequence[Record], evaluation: str | None, checkpoints: Sequence[Record]
) -> list[Record]:
    """The checkpoints with what evaluators measured on them that measured these runs too, under the
    same key; each once, from the evaluation that shares most."""
    keys = newest(members).items()
    best: dict[str, tuple[tuple[bool, int], Record]] = {}
    for record in checkpoints:
        shared = dict(record.evaluators.items() & keys)
        rank = record.evaluation == evaluation, len(shared)
        if shared and (record.run_id not in best or rank > best[record.run_id][0]):
            best[record.run_id] = rank, measured_by(record, shared)
    return [record for _, record in best.values()]


def measured_by(record: Record, kept: Mapping[str, str]) -> Record:
    """The record with what these evaluators measured, and nothing else.

    A metric that is in no table may come from any evaluator of which no metric is known.
    """
    left_out = record.evaluators.keys() - kept.keys()
    if not left_out:
        return record

    def counts(name: str) -> bool:
        evaluator = evaluation_metric(name).evaluator
        return evaluator not in left_out if evaluator else left_out <= EVALUATORS

    metrics, start = (
        {name: value for name, value in values.items() if counts(name)}
        for values in (record.metrics, record.start)
    )
    return replace(record, metrics=metrics, start=start, evaluators=dict(kept))


def elsewhere(checkpoints: Sequence[Record], shown: Iterable[Record]) -> list[Record]:
    """The checkpoints of which something is shown nowhere yet."""
    there = {(record.run_id, *one) for record in shown for one in record.evaluators.items()}
    return [
        record
        for record in checkpoints
        if any((record.run_id, *one) not in there for one in record.evaluators.items())
    ]
