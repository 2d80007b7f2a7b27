"""What a judge is: something that says which of two answers is better, or what one is worth.

A judge is asked calls: a conversation with two answers to it (which is better, or by how much?), or
with one (what is it worth, from 1 to 10?). It hands each reply to `keep` as soon as it has it, in
any order, so that whoever asked can store it before the next. What it could not say is a reply too,
with the reason as its status: nothing that was asked is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tiebreak.data.examples import Message
from tiebreak.metrics import above

LOWEST, HIGHEST = 1.0, 10.0  # of a grade
STRONG = 3.0
"""How much "much better" counts beside "a little better": as in Arena-Hard-Auto, v0.1 and v2."""


class Form(StrEnum):
    """What a judge is asked of a call."""

    GRADE = "grade"  # what one answer is worth
    COMPARE = "compare"  # which of two answers to one conversation is better
    CONVERSATIONS = "conversations"  # the same where each answer ends a conversation of its own
    FIVE = "five"  # which is better, and whether much or a little


class Status(StrEnum):
    """How a reply ended; all but the first are failures, and are counted."""

    OK = "ok"
    UNPARSEABLE = "unparseable"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    TIMED_OUT = "timed-out"
    ERROR = "error"


@dataclass(frozen=True, eq=False)
class Call:
    """One thing that a judge is asked.

    id       of the question
    prompt   the messages before the answer
    answers  two to be compared, in the order in which they are shown; or one to be graded
    order    0: the answer that the question is about stands first; 1: it stands second
    session  0; 1, 2, ... where the same is asked once more
    reference  an answer known to be right
    before   the messages before each answer, where they differ; prompt is then empty
    five     whether the judge is to say by how much
    """

    id: str
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    order: int = 0
    session: int = 0
    reference: str | None = None
    before: tuple[tuple[Message, ...], ...] = ()
    five: bool = False

    @property
    def form(self) -> Form:
        if len(self.answers) == 1:
            return Form.GRADE
        return Form.CONVERSATIONS if self.before else Form.FIVE if self.five else Form.COMPARE

    def conversation(self, place: int) -> tuple[Message, ...]:
        """The messages before the answer at this place."""
        return self.before[place] if self.before else self.prompt


@dataclass(frozen=True)
class Reply:
    """value: preference for the answer that stood first, from 0 to 1, or a grade; None: it failed.
    raw: what the judge said. sent, written: tokens. weight: how much it counts beside others."""

    status: Status
    value: float | None
    raw: str = ""
    sent: int = 0
    written: int = 0
    weight: float = 1.0


Keep = Callable[[Call, Reply], None]


class Judge(Protocol):
    """name and revision stand in every judgement. repeats: whether asking it again can give
    anything else. grades: whether it gives grades from 1 to 10."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def repeats(self) -> bool: ...
    @property
    def grades(self) -> bool: ...
    def ask(self, calls: Sequence[Call], keep: Keep) -> None:
        """`keep(call, reply)` for each call, from any thread. UserError: it cannot go on; what it
        replied until then was kept."""
        ...


@dataclass(frozen=True)
class Gold:
    """The controlled world's reward as a judge: what the others are compared with in tests.
    reward(prompt, response): the true reward; -0.7 to 1 there, which is stretched to a grade."""

    reward: Callable[[str, str], dict[str, float]]
    name: str = "gold"
    revision: str = ""
    repeats: bool = False
    grades: bool = True

    def ask(self, calls: Sequence[Call], keep: Keep) -> None:
        for call in calls:
            asked = [str(call.conversation(at)[-1]["content"]) for at in range(len(call.answers))]
            worth = [self.reward(*both)["gold/reward"]
                     for both in zip(asked, call.answers, strict=True)]  # fmt: skip
            if len(worth) == 2:
                keep(call, Reply(Status.OK, above(*worth), f"{worth[0]:g} {worth[1]:g}"))
            else:
                share = (worth[0] + 0.7) / 1.7
                value = min(HIGHEST, max(LOWEST, LOWEST + (HIGHEST - LOWEST) * share))
                keep(call, Reply(Status.OK, value, f"{worth[0]:g}"))
