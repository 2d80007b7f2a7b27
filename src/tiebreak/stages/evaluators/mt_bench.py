"""mt_bench: a judge's grade, 1 to 10, of both answers to each question of two turns, by category.

The two turns of a question are one draw: the item of a column is the question, not the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tiebreak.errors import UserError
from tiebreak.judges.session import Judged, Question
from tiebreak.metrics import MT_BENCH_CATEGORIES
from tiebreak.stages.evaluators.evaluator import OF_ANSWERS, Evaluator, Row, Subject, mean
from tiebreak.stages.evaluators.judged import (
    again_key,
    again_keys,
    calls_of_file,
    conversation,
    cost_of_judging,
    files_and_judge,
    put,
    the_judge,
)
from tiebreak.track.record_format import items_file

NAME, ANSWERS, TURNS = "mt_bench", "mt_bench_answers", 2
CALLS = calls_of_file(NAME, TURNS, graded=True)


def items(subject: Subject) -> list[Row]:
    """A row per question: grades by turn, again where judged once more, None where a call failed;
    failed: their statuses."""
    judge = the_judge(subject.run)
    if not judge.grades:
        raise UserError(
            f"judge {judge.name} gives no grades from 1 to 10, which mt_bench needs; use a "
            "generative judge, or head_to_head"
        )
    rows = subject.items[ANSWERS]
    found = put(subject, [_question(row, turn) for row in rows for turn in range(TURNS)])
    by_turn = [found[at : at + TURNS] for at in range(0, len(found), TURNS)]
    sessions = subject.run.evaluation.judge.sessions
    return [_row(row, turns, sessions) for row, turns in zip(rows, by_turn, strict=True)]


def _row(row: Row, turns: Sequence[Judged], sessions: int) -> Row:
    again = {again_key(number): [one.later(number).value for one in turns]
             for number in range(1, sessions + 1)}  # fmt: skip
    return {
        "id": row["id"], "category": row["category"], "grades": [one.value for one in turns],
        "failed": [status for one in turns for status in one.failed], **again,
    }  # fmt: skip


def _question(row: Row, turn: int) -> Question:
    talk, reference = conversation(row["turns"], row["answers"], turn), row["references"][turn]
    return Question(f"{row['id']}/{turn + 1}", talk, row["answers"][turn], None, reference)


def grade(row: Row) -> float | None:
    """The mean of both turns; None where one was not graded."""
    grades = row["grades"]
    return None if None in grades else sum(grades) / len(grades)


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    graded = [row for row in rows if grade(row) is not None]
    found = {"mt_bench/questions": float(len(rows)), "mt_bench/judged": float(len(graded))}
    for name, column in _columns(rows).items():
        values = [value for value in column if value is not None]
        if values:
            found[f"mt_bench/{name}"] = mean(values)
    pairs = [(first, again) for row in graded for key in again_keys(row)
             for first, again in zip(row["grades"], row[key], strict=True)
             if again is not None]  # fmt: skip
    if pairs:
        found["mt_bench/repeat_flips"] = mean([float(a != b) for a, b in pairs])
        found["mt_bench/repeat_shift"] = mean([b - a for a, b in pairs])
        found["mt_bench/repeated"] = float(len(pairs))
    return found


def _columns(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """Metric -> its value for each question; None where it has none."""
    whole = [grade(row) for row in rows]
    columns = {"score": whole}
    for turn in range(TURNS):
        columns[f"turn_{turn + 1}"] = [
            None if value is None else row["grades"][turn]
            for value, row in zip(whole, rows, strict=True)
        ]
    for category in MT_BENCH_CATEGORIES:
        of_category = [value if row["category"] == category else None
                       for value, row in zip(whole, rows, strict=True)]  # fmt: skip
        if any(value is not None for value in of_category):
            columns[category] = of_category
    return columns


def files(start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {
        "id": [str(row["id"]) for row in policy],
        "question_category": [row["category"] for row in policy],
    }
    for when, rows in (("before", start), ("after", policy)):
        columns |= {f"{name}/{when}": column for name, column in _columns(rows).items()}
        columns[f"failed/{when}"] = [" ".join(row["failed"]) for row in rows]
    return {items_file(NAME): columns}


EVALUATOR = Evaluator(
    NAME, items, metrics, files=files, needs=(ANSWERS,), ignores=OF_ANSWERS, reads_model=False,
    more=partial(files_and_judge, name=NAME), calls=CALLS,
    cost=cost_of_judging(CALLS, NAME),
)  # fmt: skip
