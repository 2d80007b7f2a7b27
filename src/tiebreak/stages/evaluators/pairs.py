"""pairs: the log-probs of held-out responses, chosen and rejected, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.metrics import above
from tiebreak.stages.evaluators.answers import scored
from tiebreak.stages.evaluators.evaluator import (
    OF_ANSWERS,
    Evaluator,
    Row,
    RunSize,
    Subject,
    Work,
    mean,
    summed,
    without_start,
)
from tiebreak.track.record_format import PAIR_TOKENS, PAIRS


def items(subject: Subject) -> list[Row]:
    """A row per held-out response set: log-prob (nats) by response and by token, lengths; of a pair
    also its edit distance. Unpaired rows have one response and a label; of a ranked list the best
    and the worst response count."""
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.scorer import TrainingData

    tokens = Tokens.load(subject.tokens)
    data = TrainingData(tokens)
    numbers = subject.share.take(range(len(tokens)))
    branches = [ends(data.branches(row)) for row in numbers]
    names = [tokens.ids[number] for number in numbers]
    logps = scored(subject, names, branches, "pairs", lambda: subject.model)
    return [
        _item(tokens, number, logp, by_token)
        for number, logp, by_token in zip(numbers, summed(logps), logps, strict=True)
    ]


def ends(row: Any) -> Any:
    """The best and the worst response of a row, or the one it has."""
    few = row.responses if len(row.responses) < 3 else [row.responses[0], row.responses[-1]]
    return type(row)(row.prompt, few)


def _item(tokens: Any, number: int, logp: list[float], by_token: list[Any]) -> Row:
    from rapidfuzz.distance import Levenshtein

    responses = tokens.responses[number]
    sides = [responses[0], responses[-1]][: len(logp)]
    row: Row = {
        "id": tokens.ids[number], "label": tokens.labels[number], "logp": logp,
        "logp_tokens": [t.tolist() for t in by_token],
        "lengths": [len(response) for response in sides],
    }  # fmt: skip
    if len(logp) == 2:
        chosen, rejected = sides
        row["edit_distance"] = Levenshtein.normalized_distance(chosen, rejected)
        row["first_difference"] = first_difference(chosen, rejected)
    return row


def first_difference(chosen: Sequence[int], rejected: Sequence[int]) -> int | None:
    """Index of the first token that differs; where one response starts the other, its length."""
    for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if one != other:
            return at
    return min(len(chosen), len(rejected)) if len(chosen) != len(rejected) else None


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    paired = [row for row in rows if len(row["logp"]) == 2]
    if not paired:
        return {}
    per_token = [
        [logp / length for logp, length in zip(row["logp"], row["lengths"], strict=True)]
        for row in paired
    ]
    return {
        "accuracy/likelihood": mean([above(*row["logp"]) for row in paired]),
        "accuracy/likelihood_per_token": mean([above(*both) for both in per_token]),
    }


def compared(start: Sequence[Row], policy: Sequence[Row], run: RunConfig) -> dict[str, float]:
    """Drift on held-out responses, by side."""
    drifts = [
        dict(zip(_sides(p), _difference(p["logp"], s["logp"]), strict=True))
        for s, p in zip(start, policy, strict=True)
    ]
    sides = {side: [d[side] for d in drifts if side in d] for side in ("chosen", "rejected")}
    values = {f"drift/{side}": mean(of_side) for side, of_side in sides.items() if of_side}
    if sides["chosen"]:
        values["displaced/share"] = mean([float(drift < 0) for drift in sides["chosen"]])
    if margins := [drift for drift in drifts if len(drift) == 2]:
        values["accuracy/drift"] = mean([above(d["chosen"], d["rejected"]) for d in margins])
    return values


def _difference(after: Sequence[float], before: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(after, before, strict=True)]


def _sides(row: Row) -> list[str]:
    if len(row["logp"]) == 2:
        return ["chosen", "rejected"]
    return ["chosen" if row["label"] else "rejected"]


def files(start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any]:
    tokens = _token_columns(start, policy)
    return {PAIRS: pair_columns(start, policy)} | ({PAIR_TOKENS: tokens} if tokens else {})


def pair_columns(start: Sequence[Row], policy: Sequence[Row]) -> dict[str, list[Any]]:
    """One row per held-out pair, before and after; what a row has not is None."""
    columns: dict[str, list[Any]] = {"id": [row["id"] for row in start]}
    columns["edit_distance"] = [row.get("edit_distance") for row in start]
    for side in ("chosen", "rejected"):
        for name, rows, key in (
            (f"length/{side}", start, "lengths"),
            (f"logp/{side}/before", start, "logp"),
            (f"logp/{side}/after", policy, "logp"),
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


def _token_columns(start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any] | None:
    """Per held-out pair, the log-prob of each token before and after; None without pairs.

    first_difference: index of the first token in which the two responses differ.
    """
    import pyarrow

    both = [(s, p) for s, p in zip(start, policy, strict=True) if len(s["logp"]) == 2]
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


def alone(policy: Sequence[Row]) -> dict[str, Any]:
    return without_start(files(policy, policy), "drift/chosen", "drift/rejected")


def cost(size: RunSize, of_policy: bool) -> Work:
    """A forward pass over a prompt with one response or two."""
    lengths = size.held_out()
    tokens = min(2, lengths.responses) * lengths.response
    disk = lengths.rows * (200 + 21 * tokens)  # a log-prob of a token is 21 bytes of JSON
    return Work(scored=lengths.rows * (lengths.prompt + tokens - 1), disk=disk)


EVALUATOR = Evaluator(
    "pairs", items, metrics, compared, files, alone, ignores=OF_ANSWERS, cost=cost,
    divides=lambda run: True,
)  # fmt: skip
