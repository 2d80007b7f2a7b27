"""What a judge is asked, word for word, and how its reply is read.

The prompts are this project's own. A verdict is the last JSON object of a reply that has the key
asked for; anything else is no verdict: a judge is not guessed at.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from tiebreak.data.examples import text_of
from tiebreak.judges.judge import HIGHEST, LOWEST, Call, Status

COMPARE = """\
Two answers to the last message of a conversation are given below. Decide which of them serves the \
person who wrote that message better.

What counts, the most important first:
1. Is it right? A wrong fact, a wrong result or broken code outweighs any style.
2. Does it do what was asked: all of it, in the language and form that was asked for?
3. Is it clear, and no longer than it has to be?

A longer answer is not better for its length. The order in which the answers stand means nothing.
"""
GRADE = """\
An answer to the last message of a conversation is given below. Grade how well it serves the \
person who wrote that message, from 1 (useless, or harmful) through 5 (of some use, with clear \
faults) to 10 (nothing to improve).

What counts, the most important first:
1. Is it right? A wrong fact, a wrong result or broken code outweighs any style.
2. Does it do what was asked: all of it, in the language and form that was asked for?
3. Is it clear, and no longer than it has to be?
"""
WITH_REASON = "Say in at most three sentences what decides it. Then give your verdict"
ALONE = "Give your verdict"
VERDICT = {
    2: ' as one line of JSON: {"better": "A"}, {"better": "B"}, or, where neither is better, '
    '{"better": "tie"}.',
    1: ' as one line of JSON, with your grade as the number: {"grade": 5}.',
}
REFERENCE = "an answer known to be right, to check against"
BEGINNINGS = {2: '{"better": "', 1: '{"grade": '}
"""What a verdict begins with, where its log-prob is asked for and not its text."""
VERDICTS: dict[int, dict[str, float]] = {
    2: {'A"}': 1.0, 'B"}': 0.0, 'tie"}': 0.5},
    1: {f"{grade}}}": float(grade) for grade in range(int(LOWEST), int(HIGHEST) + 1)},
}
"""How a verdict goes on -> its value."""
_REFUSAL = re.compile(
    r"\b(I('m| am) (sorry|unable|not able)|I (can('|no)t|cannot|won't) (help|assist|judge|compare|"
    r"evaluate|grade|provide|do)|as an AI)\b",
    re.IGNORECASE,
)
_OBJECT = re.compile(r"\{[^{}]*\}")
_BETTER = {"a": 1.0, "b": 0.0, "tie": 0.5}


def version() -> str:
    """12 hex digits that change with any word of the prompts."""
    text = json.dumps([COMPARE, GRADE, WITH_REASON, ALONE, VERDICT, REFERENCE, BEGINNINGS])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def prompt_of(call: Call, reason: bool = True) -> str:
    """The text that a generative judge is given. reason: it may say why before its verdict."""
    parts = [COMPARE if len(call.answers) == 2 else GRADE]
    turns = (f"[{message['role']}]\n{text_of(message)}" for message in call.prompt)
    parts.append(_block("conversation", "\n\n".join(turns)))
    names = ("answer A", "answer B") if len(call.answers) == 2 else ("answer",)
    if call.reference is not None:
        parts.append(_block(REFERENCE, call.reference))
    parts += [_block(name, text) for name, text in zip(names, call.answers, strict=True)]
    parts.append((WITH_REASON if reason else ALONE) + VERDICT[len(call.answers)])
    return "\n".join(parts)


def _block(name: str, text: str) -> str:
    return f"----- {name} -----\n{text}\n----- end of {name} -----\n"


def prompt_hash(text: str) -> str:
    """12 hex digits of what a judge was given, answers included."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def hash_of(call: Call) -> str:
    """The same for any judge: of the conversation and the answers in their order."""
    return prompt_hash(json.dumps([call.prompt, call.answers, call.reference], sort_keys=True))


@dataclass(frozen=True)
class Verdict:
    """What a reply says; value None: it gives no verdict, and status says why."""

    status: Status
    value: float | None


def read_reply(text: str | None, answers: int, cut: bool = False, refused: bool = False) -> Verdict:
    """A reply to a call with that many answers. cut: it ended at its limit of tokens. refused: the
    server said that the judge declines."""
    if refused:
        return Verdict(Status.REFUSED, None)
    value = _value(text or "", answers)
    if value is not None:
        return Verdict(Status.OK, value)
    if cut:
        return Verdict(Status.TRUNCATED, None)
    return Verdict(Status.REFUSED if _REFUSAL.search(text or "") else Status.UNPARSEABLE, None)


def _value(text: str, answers: int) -> float | None:
    for found in reversed(_OBJECT.findall(text)):
        try:
            verdict = json.loads(found)
        except ValueError:
            continue
        if answers == 2 and "better" in verdict:
            return _BETTER.get(str(verdict["better"]).strip().lower())
        if answers == 1 and "grade" in verdict:
            grade = verdict["grade"]
            number = isinstance(grade, int | float) and not isinstance(grade, bool)
            return float(grade) if number and LOWEST <= grade <= HIGHEST else None
    return None
