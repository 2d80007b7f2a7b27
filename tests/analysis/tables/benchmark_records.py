"""Records of runs that answered benchmarks: 0 or 1 a question, in `items/<task>.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.analysis.conftest import write_record
from tests.analysis.tables.conftest import put_items

Answers = Mapping[str, np.ndarray]
"""TASK/METRIC -> one number per question."""


def write_answers(
    runs_dir: Path,
    method: str,
    seed: int,
    after: Answers,
    before: Answers | None,
    subjects: Mapping[str, Sequence[str]] | None = None,
    **more: Any,
) -> str:
    """`before` None: of a model without a start model. `subjects`: task -> the subject of each of
    its questions."""
    sides = (after, before or {})
    means = [{name: float(np.mean(x)) for name, x in side.items()} for side in sides]
    run_id = write_record(runs_dir, method, seed, metrics=means[0], start_metrics=means[1], **more)
    files: dict[str, dict[str, Any]] = {}
    for name, values in after.items():
        task, _, metric = name.partition("/")
        columns = files.setdefault(task, {"id": [str(at) for at in range(len(values))]})
        if subjects and task in subjects:
            columns["subject"] = list(subjects[task])
        columns |= {} if before is None else {f"{metric}/before": before[name]}
        columns[f"{metric}/after"] = values
    for task, columns in files.items():
        put_items(runs_dir / run_id, columns, f"items/{task}.parquet")
    return run_id


def write_checkpoint(runs_dir: Path, name: str, answers: Answers, **more: Any) -> str:
    """As `tiebreak evaluate --as NAME` leaves it."""
    where = {"scenario": "checkpoint", "model": name}
    return write_answers(runs_dir, name, 1, answers, None, **where, **more)


def drawn(rng: np.random.Generator, chance: np.ndarray | float, size: int) -> np.ndarray:
    """Right (1) with the chance of each question."""
    return (rng.random(size) < chance).astype(float)
