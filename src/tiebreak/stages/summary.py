"""From two evaluations, the start model's and the policy's, to the record's files and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.stages.evaluate import GENERATIONS, PAIRS, read_lines

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """The rows of one evaluation artefact, in the order of prompts and of held-out pairs."""

    items: list[Row]
    pairs: list[Row]
    generations: list[Row]

    @classmethod
    def read(cls, generated: Path, evaluated: Path) -> Evaluated:
        return cls(
            read_lines(evaluated / "items.jsonl"),
            read_lines(evaluated / PAIRS),
            read_lines(generated / GENERATIONS),
        )


def metrics(model: Evaluated) -> dict[str, float]:
    """What can be said of one model by itself."""
    found = {
        "length/generated": _mean([row["tokens"] for row in model.items]),
    }
    parts = sorted(k for k in model.items[0] if k.startswith("gold/"))
    found |= {part: _mean([row[part] for row in model.items]) for part in parts}
    paired = [row for row in model.pairs if len(row["logp"]) == 2]
    if paired:
        found["accuracy/likelihood"] = _mean([_above(*row["logp"]) for row in paired])
        found["accuracy/likelihood_per_token"] = _mean(
            [_above(*(s / n for s, n in zip(row["logp"], row["lengths"], strict=True)))
             for row in paired]
        )  # fmt: skip
    return found


def against_start(start: Evaluated, policy: Evaluated, temperature: float) -> dict[str, float]:
    """What needs both: win rate, divergence, drift on held-out pairs.

    The divergence is estimated on the policy's own samples; answers drawn at another temperature
    than 1 are not that, and give none.
    """
    found: dict[str, float] = {}
    if temperature == 1:
        ratios = [row["logp"] - row["logp_start"] for row in policy.items]
        found["kl/reference"] = _mean(ratios)
    if "gold/reward" in policy.items[0]:
        both = zip(policy.items, start.items, strict=True)
        found["win_rate/start"] = _mean(
            [_above(p["gold/reward"], s["gold/reward"]) for p, s in both]
        )
    drifts = [
        [after - before for after, before in zip(p["logp"], s["logp"], strict=True)]
        for p, s in zip(policy.pairs, start.pairs, strict=True)
    ]
    for side in ("chosen", "rejected"):
        rows = zip(policy.pairs, drifts, strict=True)
        named = [dict(zip(_sides(row), of_row, strict=True)) for row, of_row in rows]
        of_side = [one[side] for one in named if side in one]
        if of_side:
            found[f"drift/{side}"] = _mean(of_side)
            if side == "chosen":
                found["displaced/share"] = _mean([float(d < 0) for d in of_side])
    margins = [both for both in drifts if len(both) == 2]
    if margins:
        found["accuracy/drift"] = _mean([_above(*both) for both in margins])
    return found


def generation_rows(start: Evaluated, policy: Evaluated) -> list[Row]:
    """`generations.jsonl`: the start model's answer and the policy's, side by side."""
    return [
        {"id": s["id"], "prompt": s["prompt"], "before": s["response"], "after": p["response"]}
        for s, p in zip(start.generations, policy.generations, strict=True)
    ]


def pair_columns(start: Evaluated, policy: Evaluated) -> dict[str, list[Any]]:
    """`pairs.parquet`: one row per held-out pair, before and after."""
    columns: dict[str, list[Any]] = {"id": [row["id"] for row in start.pairs]}
    columns["edit_distance"] = [row.get("edit_distance") for row in start.pairs]
    for side in ("chosen", "rejected"):
        for name, rows, key in (
            (f"length/{side}", start.pairs, "lengths"),
            (f"logp/{side}/before", start.pairs, "logp"),
            (f"logp/{side}/after", policy.pairs, "logp"),
        ):
            columns[name] = [
                dict(zip(_sides(row), row[key], strict=True)).get(side) for row in rows
            ]
        before, after = columns[f"logp/{side}/before"], columns[f"logp/{side}/after"]
        columns[f"drift/{side}"] = [
            None if b is None or a is None else a - b for b, a in zip(before, after, strict=True)
        ]
    for when in ("before", "after"):
        both = zip(columns[f"logp/chosen/{when}"], columns[f"logp/rejected/{when}"], strict=True)
        columns[f"correct/{when}"] = [None if c is None or r is None else c > r for c, r in both]
    return columns


def pair_token_columns(start: Evaluated, policy: Evaluated) -> dict[str, Any] | None:
    """`pair_tokens.parquet`: per held-out pair, the log-prob of each token before and after.

    first_difference: index of the first token in which the two responses differ. None: no pairs.
    """
    import pyarrow

    both = [(s, p) for s, p in zip(start.pairs, policy.pairs, strict=True) if len(s["logp"]) == 2]
    if not both:
        return None
    columns: dict[str, Any] = {
        "id": [s["id"] for s, _ in both],
        "first_difference": pyarrow.array([s["first_difference"] for s, _ in both], "int32"),
    }
    kind = pyarrow.list_(pyarrow.float32())
    for at, side in enumerate(("chosen", "rejected")):
        for when, rows in (("before", [s for s, _ in both]), ("after", [p for _, p in both])):
            values = [row["logp_tokens"][at] for row in rows]
            columns[f"logp/{side}/{when}"] = pyarrow.array(values, kind)
    return columns


def item_columns(start: Evaluated, policy: Evaluated) -> dict[str, list[Any]] | None:
    """`items/gold.parquet`: one row per prompt, each part before and after, and who won."""
    parts = sorted(k for k in policy.items[0] if k.startswith("gold/"))
    if not parts:
        return None
    columns: dict[str, list[Any]] = {"id": [row["id"] for row in start.items]}
    for part in [*parts, "tokens"]:
        name = part.removeprefix("gold/")
        columns[f"{name}/before"] = [row[part] for row in start.items]
        columns[f"{name}/after"] = [row[part] for row in policy.items]
    both = zip(columns["reward/after"], columns["reward/before"], strict=True)
    columns["win"] = [_above(after, before) for after, before in both]
    return columns


def _sides(row: Row) -> list[str]:
    if len(row["logp"]) == 2:
        return ["chosen", "rejected"]
    return ["chosen" if row["label"] else "rejected"]


def _above(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)


def _mean(values: list[float]) -> float:
    assert values, "an evaluation has at least one row"
    return sum(values) / len(values)
