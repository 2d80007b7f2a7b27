"""Questions put to a judge, and what it said kept in a file line by line.

Each judgement is written as it comes, so a judging that was killed goes on where it was: what
stands in the file is not asked again. A pair is judged in both orders. Some questions, the same
ones every time, are judged once more, which tells how repeatable the judge is.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.data.examples import Message
from tiebreak.engine.progress import progress
from tiebreak.errors import UserError
from tiebreak.journal import Journal
from tiebreak.judges.judge import Call, Judge, Reply, Status
from tiebreak.judges.prompts import hash_of

JUDGEMENTS = "judgements.jsonl"
ORDERS = (0, 1)


@dataclass(frozen=True)
class Question:
    """own: the answer that the question is about. other: what it is compared with; None: it is
    graded."""

    id: str
    prompt: tuple[Message, ...]
    own: str
    other: str | None = None
    reference: str | None = None

    def calls(self, session: int = 0) -> list[Call]:
        if self.other is None:
            return [Call(self.id, self.prompt, (self.own,), 0, session, self.reference)]
        both = (self.own, self.other), (self.other, self.own)
        return [Call(self.id, self.prompt, both[order], order, session, self.reference)
                for order in ORDERS]  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What became of one question.

    values  preference for the own answer by order, or the grade; None where the call failed
    again   the same of the second session; empty where it was not asked again
    failed  statuses of the calls that failed
    """

    values: tuple[float | None, ...]
    again: tuple[float | None, ...]
    failed: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """The mean over both orders, or the grade; None unless every call was answered: with one
        order alone, the judge's liking for a place would count."""
        return _mean(self.values)

    @property
    def value_again(self) -> float | None:
        return _mean(self.again)


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found and len(found) == len(values) else None


def judge_all(
    judge: Judge, questions: Sequence[Question], file: Path, repeats: int = 0
) -> list[Judged]:
    """What `judge` says of each question, in their order. file: where judgements are kept.
    repeats: how many questions are judged once more. UserError: the judge cannot go on; what it
    said is in the file, and the same call goes on from there."""
    again = _chosen(questions, repeats if judge.repeats else 0)
    calls = [call for question in questions for call in question.calls()]
    calls += [call for question in questions if question.id in again for call in question.calls(1)]
    kept = _Kept(file, judge)
    left = [call for call in calls if kept.reply(call) is None]
    for call in calls:
        if (before := kept.reply(call)) is not None:
            judge.had(before)
    try:
        with progress(f"judge {judge.name}", len(left)) as kept.advance:
            judge.ask(left, kept.add)
    except UserError as error:
        done = len(calls) - sum(kept.reply(call) is None for call in calls)
        raise UserError(
            f"{error}; {done} of {len(calls)} judgements are kept, and the same command goes on "
            "from there"
        ) from error
    return [_judged(question, kept, question.id in again) for question in questions]


def _chosen(questions: Sequence[Question], number: int) -> frozenset[str]:
    """Ids of so many questions, spread over all of them, the same for every model."""
    ids = sorted((q.id for q in questions), key=lambda i: hashlib.sha256(i.encode()).digest())
    return frozenset(ids[:number])


def _judged(question: Question, kept: _Kept, again: bool) -> Judged:
    first = [kept.needed(call) for call in question.calls()]
    second = [kept.needed(call) for call in question.calls(1)] if again else []
    failed = [str(reply.status) for reply in first if reply.status is not Status.OK]
    return Judged(
        _values(question, first), _values(question, second), tuple(failed)
    )  # fmt: skip


def _values(question: Question, replies: Iterable[Reply]) -> tuple[float | None, ...]:
    """For the own answer: where it stood second, the preference for the first is turned round."""
    found = [reply.value for reply in replies]
    if question.other is None:
        return tuple(found)
    return tuple(
        value if value is None or order == 0 else 1 - value for order, value in enumerate(found)
    )


class _Kept:
    """The judgements in a file, by what was asked. Threads may add to it."""

    def __init__(self, file: Path, judge: Judge) -> None:
        self._judge, self._lock, self._journal = judge, threading.Lock(), Journal(file)
        self.advance: Callable[[int], object] = lambda number: None
        self._replies: dict[tuple[str, int, int, str], Reply] = {}
        for row in self._journal.rows:
            at = row["id"], row["order"], row["session"], row["asked"]
            self._replies[at] = Reply(
                Status(row["status"]), row["value"], row["raw"], *row["tokens"]
            )

    def reply(self, call: Call) -> Reply | None:
        return self._replies.get((call.id, call.order, call.session, hash_of(call)))

    def needed(self, call: Call) -> Reply:
        reply = self.reply(call)
        assert reply is not None, "a judge keeps a reply to every call"
        return reply

    def add(self, call: Call, reply: Reply) -> None:
        at = call.id, call.order, call.session, hash_of(call)
        row: dict[str, Any] = {
            "id": call.id, "order": call.order, "session": call.session, "asked": at[3],
            "judge": self._judge.name, "revision": self._judge.revision,
            "status": str(reply.status), "value": reply.value, "raw": reply.raw,
            "tokens": [reply.sent, reply.written],
        }  # fmt: skip
        with self._lock:
            self._replies[at] = reply
            self._journal.add(row)
            self.advance(1)


def failures(judged: Iterable[Judged]) -> dict[str, int]:
    """Status -> calls that ended so, of those that failed."""
    return dict(sorted(Counter(status for one in judged for status in one.failed).items()))
