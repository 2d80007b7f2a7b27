"""Wins of a model's answers over others', as metrics and as columns of the record: raw, with length
held equal, and with length and Markdown held equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiebreak.judges.judge import Form
from tiebreak.judges.session import Judged, Question, Session
from tiebreak.stages.evaluators.evaluator import Row, Subject, mean
from tiebreak.stages.evaluators.judged import again_key, again_keys, conversation, put
from tiebreak.track.record_format import items_file

STYLE = ("length", "headings", "lists", "bold")
CONTROLS = {"lc": STYLE[:1], "sc": STYLE}
WEIGHT = "weight"
_MARKS = {
    "headings": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "lists": re.compile(r"^\s*(?:[-*+]|\d+\.)\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}
_CODE = re.compile(r"```[^`]*```")
Items = list[float | None]
"""A value for each question; None: it has none."""


def turns_of(row: Row) -> tuple[str, ...]:
    """What the person says, turn by turn, in a row of answers."""
    return tuple(row.get("turns") or (row["prompt"],))


def answers_of(row: Row) -> tuple[str, ...]:
    """What the model answers, turn by turn."""
    return tuple(row.get("answers") or (row["response"],))


@dataclass(frozen=True)
class Contest:
    """How the answers of one evaluator are compared, and its wins counted.

    form        of the calls; of those after the first turn, where there are several turns
    categories  those that have a win rate of their own
    turns       of a question, which is one item all the same

    With five verdicts (Form.FIVE) "much better" counts three times, as in Arena-Hard-Auto: the rate
    is the weighted mean over all calls, which is what its Bradley-Terry fit (v0.1) gives where
    every model meets one baseline, and its mean of repeated games (v2). Style is held equal by that
    project's terms, too.
    """

    name: str
    form: Form = Form.COMPARE
    categories: tuple[str, ...] = ()
    turns: int = 1

    @property
    def five(self) -> bool:
        return self.form is Form.FIVE

    def rows(
        self, subject: Subject, own: Sequence[Row], others: Sequence[Sequence[str]]
    ) -> list[Row]:
        """A row per question. win: the judge's preference for the own answers over both orders,
        None where a call failed. first, second: by their place. again, again_2, ...: judged once
        more. failed: statuses. style: of both answers. turns: wins by turn, where there are
        several. weight: how much the question counts, where there are five verdicts, and so of each
        further session."""
        pairs = list(zip(own, others, strict=True))
        found = put(subject, [self._question(row, other, turn)
                              for row, other in pairs for turn in range(self.turns)])  # fmt: skip
        by_row = [found[at : at + self.turns] for at in range(0, len(found), self.turns)]
        sessions = subject.run.evaluation.judge.sessions
        return [
            {"id": row["id"], "category": row.get("category", ""),
             **_judged(turns, sessions, self.five),
             "style": [style_of("\n\n".join(texts), self.five)
                       for texts in (answers_of(row), other)]}
            for (row, other), turns in zip(pairs, by_row, strict=True)
        ]  # fmt: skip

    def _question(self, row: Row, other: Sequence[str], turn: int) -> Question:
        name, asked, own = str(row["id"]), turns_of(row), answers_of(row)
        before = conversation(asked, own, turn)
        if self.turns == 1:
            return Question(name, before, own[turn], other[turn], five=self.five)
        return Question(
            f"{name}/{turn + 1}", before, own[turn], other[turn], row["references"][turn],
            conversation(asked, other, turn) if turn else None, drawn=name,
        )  # fmt: skip

    def metrics(self, rows: Sequence[Row]) -> dict[str, float]:
        """Of one model against its baseline; nothing where it is the baseline."""
        if not rows:
            return {}
        judged = [row for row in rows if row["win"] is not None]
        found = {"questions": float(len(rows)), "judged": float(len(judged))}
        if judged:
            first, second = ([float(row[at]) for row in judged] for at in ("first", "second"))
            apart = list(zip(first, second, strict=True))
            found["position_bias"] = mean([(a - b) / 2 for a, b in apart])
            found["order_flips"] = mean([float(_sign(a) != _sign(b)) for a, b in apart])
            found |= self._repeated(judged)
            for name, items in self._columns(rows).items():
                known = [value for value in items if value is not None]
                found |= {METRICS.get(name, name): mean(known)} if known else {}
        return {f"{self.name}/{name}": value for name, value in found.items()}

    def _repeated(self, judged: Sequence[Row]) -> dict[str, float]:
        """How verdicts change when the judge is asked again, over all sessions."""
        keys = again_keys(judged[0])
        pairs = [(row["win"], row[key]) for key in keys for row in judged if row[key] is not None]
        if not pairs:
            return {}
        wins, moved = self._items(judged, "win"), list[float]()
        for key in keys:
            again = self._items(judged, key)
            moved += [b - a for a, b in zip(wins, again, strict=True)
                      if a is not None and b is not None]  # fmt: skip
        return {
            "repeat_flips": mean([float(_sign(a) != _sign(b)) for a, b in pairs]),
            "repeat_shift": mean(moved),
            "repeated": float(sum(row[keys[0]] is not None for row in judged)),
        }

    def _items(self, rows: Sequence[Row], key: str) -> Items:
        """One session's wins, so that their mean is the win rate and their spread its error; of a
        further session with the rate and the mean weight of the first, so that they compare."""
        if not self.five:
            return [row[key] for row in rows]
        from tiebreak_analysis.win_rates import weighted

        judged = [row for row in rows if row["win"] is not None]
        if not judged:
            return [None] * len(rows)
        wins, weights = ([float(row[at]) for row in judged] for at in ("win", WEIGHT))
        there = [row for row in rows if row[key] is not None]
        weight = WEIGHT if key == "win" else f"{key}_{WEIGHT}"
        items = weighted(
            wins, weights, [row[key] for row in there], [row[weight] for row in there]
        )  # fmt: skip
        values = iter(items.tolist())
        return [None if row[key] is None else next(values) for row in rows]

    def _columns(self, rows: Sequence[Row]) -> dict[str, Items]:
        """What has a value for each question: the wins, with things held equal, of a part."""
        columns = {"win": self._items(rows, "win")}
        columns |= {what: self._controlled(rows, of) for what, of in CONTROLS.items()}
        for name in self.categories:
            part = [row for row in rows if row["category"] == name]
            if any(row["win"] is not None for row in part):
                columns[name] = _spread(rows, part, self._items(part, "win"))
                if self.five:
                    columns[f"{name}_sc"] = _spread(rows, part, self._controlled(part, STYLE))
        for turn in range(self.turns) if self.turns > 1 else ():
            columns[f"turn_{turn + 1}"] = [
                None if row["win"] is None else row["turns"][turn] for row in rows
            ]
        return columns

    def _controlled(self, rows: Sequence[Row], columns: Sequence[str]) -> Items:
        """Per question, what its mean is had both answers been alike in these."""
        import numpy as np

        from tiebreak_analysis.win_rates import controlled, length_term, ratio_terms

        judged = [row for row in rows if row["win"] is not None]
        if not judged:
            return [None] * len(rows)
        sides = [[[row["style"][side][column] for row in judged] for column in columns]
                 for side in (0, 1)]  # fmt: skip
        if self.five:
            terms = ratio_terms(*(np.array(side).T for side in sides))
        else:
            terms = np.stack([length_term(a, b) for a, b in zip(*sides, strict=True)], axis=1)
        weights = [row[WEIGHT] for row in judged] if self.five else None
        found = controlled([row["win"] for row in judged], terms, weights=weights)
        values = iter(found.items.tolist())
        return [None if row["win"] is None else next(values) for row in rows]

    def files(self, start: Sequence[Row], policy: Sequence[Row]) -> Mapping[str, Mapping[str, Any]]:
        """The columns of the record, of the start model too where it was judged."""
        columns: dict[str, list[Any]] = {
            "id": [str(row["id"]) for row in policy],
            "category": [row["category"] for row in policy],
        }
        for when, rows in (("before", start), ("after", policy)):
            if not rows:
                continue
            plain = ("first", "second", WEIGHT) if self.five else ("first", "second")
            found = {"win": [], **{key: [row[key] for row in rows] for key in plain}}
            found |= {key: self._items(rows, key) for key in again_keys(rows[0])}
            for name, items in (found | self._columns(rows)).items():
                columns[f"{name}/{when}"] = items
            columns[f"length/{when}"] = [row["style"][0]["length"] for row in rows]
            columns[f"length_other/{when}"] = [row["style"][1]["length"] for row in rows]
            columns[f"failed/{when}"] = [" ".join(row["failed"]) for row in rows]
        return {items_file(self.name): columns}


METRICS = {"win": "win_rate", "lc": "win_rate_lc", "sc": "win_rate_sc"}
"""Column of the record -> the metric that is its mean, where they differ."""


def _judged(turns: Sequence[Judged], sessions: int, five: bool) -> Row:
    def over(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    def of(session: Sequence[Session]) -> float | None:
        return over([one.value for one in session])

    row: Row = {"win": of(turns)}
    row |= {place: over([one.values[order] for one in turns])
            for order, place in enumerate(("first", "second"))}  # fmt: skip
    row |= {WEIGHT: turns[0].weight} if five else {}
    for number in range(1, sessions + 1):
        later = [one.later(number) for one in turns]
        row[again_key(number)] = of(later)
        row |= {f"{again_key(number)}_{WEIGHT}": later[0].weight} if five else {}
    row["failed"] = [status for one in turns for status in one.failed]
    return row | ({"turns": [one.value for one in turns]} if len(turns) > 1 else {})


def _spread(rows: Sequence[Row], part: Sequence[Row], items: Items) -> Items:
    """The values of some rows in the places of all."""
    values = {row["id"]: value for row, value in zip(part, items, strict=True)}
    return [values.get(row["id"]) for row in rows]


def _sign(preference: float) -> int:
    return (preference > 0.5) - (preference < 0.5)


def style_of(text: str, but_code: bool = False) -> dict[str, int]:
    """Characters, and marks of Markdown; but_code: outside of blocks of code."""
    marked = _CODE.sub("", text) if but_code else text
    counts = {name: len(mark.findall(marked)) for name, mark in _MARKS.items()}
    return {"length": len(text), **counts}
