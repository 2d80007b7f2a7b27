"""gold: the true reward of a model's answers, where the data know it (the controlled world)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.data.sources import Data
from tiebreak.metrics import above
from tiebreak.stages.evaluators.evaluator import (
    OF_ANSWERS,
    Evaluator,
    Row,
    RunSize,
    Subject,
    Work,
    mean,
    without_start,
)
from tiebreak.track.record_format import items_file


def items(subject: Subject) -> list[Row]:
    """A row per answer: the gold reward and its parts."""
    gold = subject.run.data.gold
    return [
        {"id": row["id"], **gold(row["prompt"], row["response"])}
        for row in subject.items["generations"]
    ]


def _parts(rows: Sequence[Row]) -> list[str]:
    return sorted(name for name in rows[0] if name.startswith("gold/"))


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    return {part: mean([row[part] for row in rows]) for part in _parts(rows)}


def _wins(start: Sequence[Row], policy: Sequence[Row]) -> list[float]:
    both = zip(policy, start, strict=True)
    return [above(p["gold/reward"], s["gold/reward"]) for p, s in both]


def compared(start: Sequence[Row], policy: Sequence[Row], run: RunConfig) -> dict[str, float]:
    return {"win_rate/start": mean(_wins(start, policy))}


def files(start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {"id": [row["id"] for row in start]}
    for part in _parts(policy):
        name = part.removeprefix("gold/")
        columns[f"{name}/before"] = [row[part] for row in start]
        columns[f"{name}/after"] = [row[part] for row in policy]
    columns["win"] = _wins(start, policy)
    return {items_file("gold"): columns}


def alone(policy: Sequence[Row]) -> dict[str, Any]:
    return without_start(files(policy, policy), "win")


def _is_known(run: RunConfig) -> bool:
    return type(run.data).gold is not Data.gold


def cost(size: RunSize, of_policy: bool) -> Work:
    """No model is run."""
    return Work(disk=320 * size.prompts())


EVALUATOR = Evaluator(
    "gold", items, metrics, compared, files, alone, needs=("generations",), ignores=OF_ANSWERS,
    reads_model=False, applies=_is_known, cost=cost,
)  # fmt: skip
