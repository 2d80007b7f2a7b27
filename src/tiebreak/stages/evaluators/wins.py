"""Wins of a model's answers over others', as metrics and as columns of the record: raw, with length
held equal, and with length and Markdown held equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tiebreak.judges.questions import Asked, read_answers
from tiebreak.judges.session import Question
from tiebreak.stages.evaluators.evaluator import Row, Subject, mean
from tiebreak.stages.evaluators.judged import put
from tiebreak.track.record_format import items_file

STYLE = ("length", "headings", "lists", "bold")
CONTROLS = {"win_rate_lc": STYLE[:1], "win_rate_sc": STYLE}
_MARKS = {
    "headings": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "lists": re.compile(r"^\s*(?:[-*+]|\d+\.)\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}


def compared_with(subject: Subject, name: str, answers: str) -> list[Row]:
    """Wins of the model's answers (rows of the evaluator `answers`) over the baseline's: a file's,
    or the start model's; none where the model is that one itself."""
    baseline = getattr(subject.run.evaluation, f"{name}_baseline", None)
    own = subject.items[answers]
    if baseline is not None:
        asked = [Asked(row["id"], (row["prompt"],), "") for row in own]
        others = read_answers(baseline, asked)
    elif not subject.items_start:
        return []
    else:
        others = [row["response"] for row in subject.items_start[answers]]
    return wins(subject, own, others)


def wins(subject: Subject, own: Sequence[Row], others: Sequence[str]) -> list[Row]:
    """A row per question. win: the judge's preference for the own answer over both orders, None
    where a call failed. first, second: by its place. again: judged once more. failed: statuses.
    style: of both answers."""
    questions = [
        Question(str(row["id"]), ({"role": "user", "content": row["prompt"]},), row["response"],
                 other)
        for row, other in zip(own, others, strict=True)
    ]  # fmt: skip
    found = put(subject, questions)
    return [
        {"id": row["id"], "category": row.get("category", ""), "win": one.value,
         "first": one.values[0], "second": one.values[1], "again": one.value_again,
         "failed": list(one.failed), "style": [style_of(row["response"]), style_of(other)]}
        for row, one, other in zip(own, found, others, strict=True)
    ]  # fmt: skip


def win_metrics(name: str, rows: Sequence[Row]) -> dict[str, float]:
    """Of one model against its baseline; nothing where it is the baseline."""
    if not rows:
        return {}
    judged = [row for row in rows if row["win"] is not None]
    found = {f"{name}/questions": float(len(rows)), f"{name}/judged": float(len(judged))}
    if not judged:
        return found
    first, second = ([float(row[place]) for row in judged] for place in ("first", "second"))
    found |= {
        f"{name}/win_rate": mean([row["win"] for row in judged]),
        f"{name}/position_bias": mean([(a - b) / 2 for a, b in zip(first, second, strict=True)]),
        f"{name}/order_flips": mean(
            [float(_sign(a) != _sign(b)) for a, b in zip(first, second, strict=True)]
        ),
    }
    again = [row for row in judged if row["again"] is not None]
    if again:
        flips = [float(_sign(row["win"]) != _sign(row["again"])) for row in again]
        found[f"{name}/repeat_flips"] = mean(flips)
        found[f"{name}/repeat_shift"] = mean([row["again"] - row["win"] for row in again])
        found[f"{name}/repeated"] = float(len(again))
    for what, columns in CONTROLS.items():
        items = [value for value in controlled_items(rows, columns) if value is not None]
        found[f"{name}/{what}"] = mean(items)
    return found


def _sign(preference: float) -> int:
    return (preference > 0.5) - (preference < 0.5)


def style_of(text: str) -> dict[str, int]:
    """Characters, and marks of Markdown."""
    counts = {name: len(mark.findall(text)) for name, mark in _MARKS.items()}
    return {"length": len(text), **counts}


def controlled_items(rows: Sequence[Row], columns: Sequence[str]) -> list[float | None]:
    """Per question, what its mean is had both answers been alike in these; None: not judged."""
    import numpy as np

    from tiebreak_analysis.win_rates import controlled, length_term

    judged = [row for row in rows if row["win"] is not None]
    if not judged:
        return [None] * len(rows)
    terms = [
        length_term(*([row["style"][side][column] for row in judged] for side in (0, 1)))
        for column in columns
    ]
    found = controlled([row["win"] for row in judged], np.stack(terms, axis=1))
    values = iter(found.items.tolist())
    return [None if row["win"] is None else next(values) for row in rows]


def win_files(
    name: str, start: Sequence[Row], policy: Sequence[Row]
) -> Mapping[str, Mapping[str, Any]]:
    """The columns of the record, of the start model too where it was judged."""
    columns: dict[str, list[Any]] = {"id": [str(row["id"]) for row in policy],
                                     "category": [row["category"] for row in policy]}  # fmt: skip
    for when, rows in (("before", start), ("after", policy)):
        if not rows:
            continue
        for place in ("win", "first", "second", "again"):
            columns[f"{place}/{when}"] = [row[place] for row in rows]
        for what, of in CONTROLS.items():
            columns[f"{what.removeprefix('win_rate_')}/{when}"] = controlled_items(rows, of)
        columns[f"length/{when}"] = [row["style"][0]["length"] for row in rows]
        columns[f"length_other/{when}"] = [row["style"][1]["length"] for row in rows]
        columns[f"failed/{when}"] = [" ".join(row["failed"]) for row in rows]
    return {items_file(name): columns}
