"""The other files of a synthetic record (history, pairs, items, generations), and its mirror."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.analysis.conftest import measured
from tiebreak.track.mirror import open_mirror

STEPS, ROWS = 4, 5


@dataclass(frozen=True)
class Tracker:
    name: str = "wandb"
    project: str = "tiebreak"
    entity: str | None = "team"
    mode: str = "offline"


def history(seed: int, steps: int = STEPS) -> list[dict[str, Any]]:
    """Numbers that no binary fraction writes short, and a metric that begins late."""
    return [
        {"step": step, "loss": 0.7 / step + seed / 3, "learning_rate": 0.0}
        | ({"reward/margin": 0.1 * step} if step > 1 else {})
        for step in range(1, steps + 1)
    ]


def throughput(seed: int) -> list[dict[str, Any]]:
    """Two steps: 2 s at 100 tokens/s, then 1 s at 130."""
    first = {"step": 1, "seconds": 2.0, "pairs/s": 64.0, "response_tokens/s": 100.0}
    second = {"step": 2, "seconds": 1.0, "pairs/s": 64.0, "response_tokens/s": 130.0}
    return [{**first, "memory/peak": 512.25 + seed}, {**second, "memory/peak": 500.0}]


def fill(folder: Path, rewards: list[float] | None = None) -> None:
    """Add the logs and, to a finished record, what was measured. `rewards`: the gold reward after
    training, one per question; else their mean is 0.5."""
    seed = read(folder / "manifest.json")["seed"]
    rewards = rewards or [0.1 * (at + 3) for at in range(ROWS)]
    ids = [f"prompt-{at}" for at in range(len(rewards))]
    lines(folder / "metrics.jsonl", history(seed))
    lines(folder / "throughput.jsonl", throughput(seed))
    if not (folder / "evaluations").is_dir():
        return
    inside = measured(folder)
    items = {"id": ids, "reward/before": [0.2] * len(ids), "reward/after": rewards}
    parquet(inside / "items" / "gold.parquet", items | {"tokens/after": list(range(len(ids)))})
    drift = [0.25 * seed - at / 7 for at in range(len(ids))]
    pairs = {"id": ids, "drift/chosen": drift, "correct/after": [d < 0 for d in drift]}
    parquet(inside / "pairs.parquet", pairs | {"edit_distance": [None] * len(ids)})
    turns = [{"role": "user", "content": "<b>é</b>"}]
    texts = [{"id": one, "prompt": "p", "before": "b", "after": f"{seed}"} for one in ids[1:]]
    first = {"id": ids[0], "prompt": turns, "before": "b", "after": "\u2028"}
    lines(inside / "generations.jsonl", [first, *texts])


def parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def mirror(folder: Path, home: Path, tracker: Tracker, *, first: int = 1, killed: int = 0) -> None:
    """Send a record as the run did that wrote it. `first`: the step a resumed run begins with.
    `killed`: the step after which it was; then nothing is said of its end."""
    manifest = read(folder / "manifest.json")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    ids = (manifest["run_id"], manifest["group_id"], manifest["names"])
    with open_mirror(tracker, *ids, config, home) as sent:
        for row in history(manifest["seed"], killed or STEPS)[first - 1 :]:
            speed = {"seconds": 0.5, "pairs/s": 64.0, "memory/peak": 512.25}
            told = {k: v for k, v in row.items() if k != "step"}
            sent.log(
                row["step"],
                {**told, **speed, **({"loss": -1.0} if killed and row["step"] > 1 else {})},
            )
        if killed:
            return
        for result in folder.glob("evaluations/*/result.json"):
            sent.generations(STEPS, [{"prompt": "p", "before": "b", "after": "a"}])
            sent.summary(read(result))
        sent.record(folder)


def closed() -> None:
    """wandb's process writes the end of an offline log after `finish` has returned: wait for it."""
    import wandb

    wandb.teardown()
