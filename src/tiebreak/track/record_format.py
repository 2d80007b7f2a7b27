"""The format of a record, once for its writer, its mirror and its readers: names and statuses.

A record is the folder `runs/<run id>/`; docs/records.md lists every file and field.
"""

from __future__ import annotations

FORMAT = 1
"""In every JSON file of a record as `format`; a record of another format is not read."""

STATUSES = ("running", "finished", "failed", "stopped", "pruned")

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
STATUS = "status.json"
METRICS = "metrics.jsonl"
THROUGHPUT = "throughput.jsonl"
TRACE = "error.txt"
LOCK = ".lock"

RESULT = "result.json"
GENERATIONS = "generations.jsonl"
PAIRS = "pairs.parquet"
PAIR_TOKENS = "pair_tokens.parquet"
ITEMS = "items"


def items_file(evaluator: str) -> str:
    """Path of the items of one evaluator: one row per question."""
    return f"{ITEMS}/{evaluator}.parquet"
