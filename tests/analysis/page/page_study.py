"""A small study whose texts would break a careless page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.analysis.conftest import measured
from tiebreak_analysis.page import write
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison

HOSTILE = "<script>alert(1)</script> </script><!-- & \u2028 ' \" <img src=x onerror=alert(2)>"
PROMPTS, PAIRS = 6, 40


def fill(folder: Path, seed: int, steps: int, strength: float) -> None:
    """The files of a run that result.json does not need."""
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as log:
        for step in range(1, steps + 1):
            row = {"step": step, "loss": 0.7 / step + seed / 100, "reward/margin": strength * step}
            drift = {"drift/chosen": -strength * step, "drift/rejected": -2 * strength * step}
            log.write(json.dumps(row | drift | {"grad/norm": 1.0}) + "\n")
    if not (folder / "evaluations").is_dir():
        return
    inside = measured(folder)
    texts = [
        {
            "id": f"p{at}",
            "prompt": f"{at}: {HOSTILE}",
            "before": "start",
            "after": HOSTILE + str(at),
        }
        for at in range(PROMPTS)
    ]
    (inside / "generations.jsonl").write_text("".join(json.dumps(t) + "\n" for t in texts))
    (inside / "items").mkdir()
    items = {"id": [f"p{at}" for at in range(PROMPTS)], "reward/before": [0.2] * PROMPTS}
    _parquet(inside / "items" / "gold.parquet", items | {"reward/after": [0.5] * PROMPTS})
    drift = [-strength * (1 + (at + seed) % 3) for at in range(PAIRS)]
    pairs = {"id": [f"q{at}" for at in range(PAIRS)], "drift/chosen": drift}
    pairs |= {"drift/rejected": [2 * d for d in drift], "length/chosen": [20] * PAIRS}
    pairs |= {"length/rejected": [18 + at % 5 for at in range(PAIRS)]}
    _parquet(
        inside / "pairs.parquet", pairs | {"edit_distance": [at / PAIRS for at in range(PAIRS)]}
    )


def _parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    pq.write_table(pa.table(columns), path)


def page_of(runs_dir: Path, **how: Any) -> str:
    runs = load(runs_dir)
    return write("a study", runs, [comparison(runs, command="tiebreak table a-study")], **how)
