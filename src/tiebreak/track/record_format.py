"""The format of a record, the folder `runs/<run id>/`: names and statuses, for its writer, its
mirror and its readers. What training left lies in the folder itself, what was measured in
`evaluations/<evaluation id>/`; docs/records.md lists every file and field.
"""

from __future__ import annotations

import os
from pathlib import Path

FORMAT = 2
"""In every JSON file of a record as `format`; a record of another format is not read."""

STATUSES = ("running", "finished", "failed", "stopped", "pruned")

CHECKPOINT = "checkpoint"
"""Scenario of a record without training: of a model that was measured as it is given."""

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
STATUS = "status.json"
METRICS = "metrics.jsonl"
THROUGHPUT = "throughput.jsonl"
TRACE = "error.txt"
LOCK = ".lock"
OF_RUN = frozenset({CONFIG, MANIFEST, STATUS, METRICS, THROUGHPUT, TRACE, LOCK})
"""Files of the run's own folder; every other file belongs to an evaluation."""

LAYOUT = "layout.json"
"""In the artefact of a policy: how its rows were laid out; the manifest has its content."""

EVALUATIONS = "evaluations"
RESULT = "result.json"
GENERATIONS = "generations.jsonl"
PAIRS = "pairs.parquet"
PAIR_TOKENS = "pair_tokens.parquet"
ITEMS = "items"

JUDGES, CHECK, CHECK_FORMAT = "judges", "check.json", 1
"""Beside the folder of records, what judges were worth: `judges/<judge>/<data>/check.json`."""


def items_file(evaluator: str) -> str:
    """Name of the items of one evaluator in the folder of an evaluation: a row per question."""
    return f"{ITEMS}/{evaluator}.parquet"


def evaluation_folder(run_dir: Path, evaluation_id: str) -> Path:
    """Where the files of one evaluation of a run lie."""
    return run_dir / EVALUATIONS / evaluation_id


def path_in_record(name: str, evaluation_id: str | None) -> str:
    """Path of a file from the run's folder, where `evaluation_id` is the evaluation it is of.
    FileNotFoundError: a file of an evaluation, and there is none (`evaluation_id` None)."""
    if name in OF_RUN:
        return name
    if evaluation_id is None:
        raise FileNotFoundError(name)
    return f"{EVALUATIONS}/{evaluation_id}/{name}"


def finished_evaluations(run_dir: Path) -> list[str]:
    """Sorted ids of the evaluations of a run that have their `result.json`."""
    folder = f"{run_dir}/{EVALUATIONS}"
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    finished = (name for name in names if os.path.lexists(f"{folder}/{name}/{RESULT}"))
    return sorted(name for name in finished if not name.startswith("."))


def foreign_format(found: object) -> str | None:
    """Why a record whose files have format `found` is not read; None: it is of this format."""
    if found == FORMAT:
        return None
    return (
        f"a record of format {found!r}, which this version does not read; "
        "move it away or set TIEBREAK_HOME"
    )
