"""Questions put to a judge, and what it said kept in a file line by line.

Each judgement is written as it comes, so a judging that was killed goes on where it was: what
stands in the file is not asked again. A pair is judged in both orders. Some questions, the same
ones every time, are judged once more, in one session or in several, which tells how repeatable the
judge is.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import mul
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
    graded. before_other: the messages before that one, where they are not `prompt`. five: whether
    the judge is to say by how much one is better. drawn: what the question is a part of; its parts
    are judged once more together."""

    id: str
    prompt: tuple[Message, ...]
    own: str
    other: str | None = None
    reference: str | None = None
    before_other: tuple[Message, ...] | None = None
    five: bool = False
    drawn: str | None = None

    def calls(self, session: int = 0) -> list[Call]:
        if self.other is None:
            return [Call(self.id, self.prompt, (self.own,), 0, session, self.reference)]
        answers, before, prompt = (self.own, self.other), (), self.prompt
        if self.before_other is not None:
            before, prompt = (self.prompt, self.before_other), ()
        return [
            Call(self.id, prompt, answers[::way], order, session, self.reference,
                 before[::way], self.five)
            for order, way in zip(ORDERS, (1, -1), strict=True)
        ]  # fmt: skip


@dataclass(frozen=True)
class Session:
    """What one session of the judge made of one question.

    values   preference for the own answer by order, or the grade; None where the call failed
    weights  how much each counts
    """

    values: tuple[float | None, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def value(self) -> float | None:
        """The mean over both orders, or the grade; None unless every call was answered: with one
        order alone, the judge's liking for a place would count."""
        found = [value for value in self.values if value is not None]
        if not found or len(found) < len(self.values):
            return None
        return sum(map(mul, found, self.weights)) / sum(self.weights)

    @property
    def weight(self) -> float:
        """How much the question counts beside others: the mean over its calls."""
        return sum(self.weights) / len(self.weights) if self.weights else 1.0


@dataclass(frozen=True)
class Judged(Session):
    """What became of one question.

    again   what each further session made of it; empty where it was not asked again
    failed  statuses of the calls that failed
    """

    again: tuple[Session, ...] = ()
    failed: tuple[str, ...] = ()

    def later(self, session: int) -> Session:
        """The first, second, ... further session; without values where it was not asked."""
        return self.again[session - 1] if session <= len(self.again) else Session()


def judge_all(
    judge: Judge, questions: Sequence[Question], file: Path, repeats: int = 0, sessions: int = 1
) -> list[Judged]:
    """What `judge` says of each question, in their order. file: where judgements are kept.
    repeats: how many questions are judged once more, in each of `sessions` sessions. UserError: the
    judge cannot go on; what it said is in the file, and the same call goes on from there."""
    chosen = _chosen(questions, repeats if judge.repeats else 0)
    calls = [call for question in questions for call in question.calls()]
    for session in range(1, sessions + 1):
        calls += [call for question in questions if _draw(question) in chosen
                  for call in question.calls(session)]  # fmt: skip
    kept = _Kept(file, judge)
    left = [call for call in calls if kept.reply(call) is None]
    try:
        with progress(f"judge {judge.name}", len(left)) as kept.advance:
            judge.ask(left, kept.add)
    except UserError as error:
        done = len(calls) - sum(kept.reply(call) is None for call in calls)
        raise UserError(
            f"{error}; {done} of {len(calls)} judgements are kept, and the same command goes on "
            "from there"
        ) from error
    return [_judged(one, kept, sessions * (_draw(one) in chosen)) for one in questions]


def _chosen(questions: Sequence[Question], number: int) -> frozenset[str]:
    """Ids of so many questions, spread over all of them, the same for every model."""
    ids = sorted(set(map(_draw, questions)), key=lambda i: hashlib.sha256(i.encode()).digest())
    return frozenset(ids[:number])


def _draw(question: Question) -> str:
    return question.id if question.drawn is None else question.drawn


def _judged(question: Question, kept: _Kept, again: int) -> Judged:
    """again: in how many further sessions it was asked."""
    first = [kept.needed(call) for call in question.calls()]
    failed = [str(reply.status) for reply in first if reply.status is not Status.OK]
    others = (
        Session(*_said(question, map(kept.needed, question.calls(session))))
        for session in range(1, again + 1)
    )
    return Judged(*_said(question, first), tuple(others), tuple(failed))


def _said(
    question: Question, replies: Iterable[Reply]
) -> tuple[tuple[float | None, ...], tuple[float, ...]]:
    """Values for the own answer, and weights. Where it stood second, the preference for the first
    is turned round."""
    found = list(replies)
    turned = (
        one.value if one.value is None or order == 0 else 1 - one.value
        for order, one in enumerate(found)
    )
    return tuple(turned), tuple(one.weight for one in found)


class _Kept:
    """The judgements in a file, by what was asked. Threads may add to it."""

    def __init__(self, file: Path, judge: Judge) -> None:
        self._judge, self._lock, self._journal = judge, threading.Lock(), Journal(file)
        self.advance: Callable[[int], object] = lambda number: None
        self._replies: dict[tuple[str, int, int, str], Reply] = {}
        for row in self._journal.rows:
            at = row["id"], row["order"], row["session"], row["asked"]
            self._replies[at] = Reply(
                Status(row["status"]), row["value"], row["raw"], *row["tokens"],
                row.get("weight", 1.0),
            )  # fmt: skip

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
            **({"weight": reply.weight} if call.five else {}),
        }  # fmt: skip
        with self._lock:
            self._replies[at] = reply
            self._journal.add(row)
            self.advance(1)


def failures(judged: Iterable[Judged]) -> dict[str, int]:
    """Status -> calls that ended so, of those that failed."""
    return dict(sorted(Counter(status for one in judged for status in one.failed).items()))
