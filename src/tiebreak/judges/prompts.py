"""What a judge is asked, word for word, and how its reply is read.

The prompts are this project's own, one wording for each form of a call. A verdict is the last JSON
object of a reply that has the key asked for; anything else is no verdict: a judge is not guessed
at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tiebreak.data.examples import Message, text_of
from tiebreak.judges.judge import HIGHEST, LOWEST, STRONG, Call, Form, Status

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
CONVERSATIONS = """\
The same person has talked to two assistants, who were asked the same things in the same order. \
Both conversations are given below, each with that assistant's own earlier answers, and then the \
two answers to the last message. Decide which of these last answers serves the person better.

What counts, the most important first:
1. Is it right? A wrong fact, a wrong result or broken code outweighs any style.
2. Does it do what was asked, also in view of what was said before: all of it, in the language and \
form that was asked for?
3. Is it clear, and no longer than it has to be?

A longer answer is not better for its length. The order in which the assistants stand means nothing.
"""
WITH_REASON = "Say in at most three sentences what decides it. Then give your verdict"
ALONE = "Give your verdict"
REFERENCE = "an answer known to be right, to check against"
_ONE_OF_THREE = (
    ' as one line of JSON: {"better": "A"}, {"better": "B"}, or, where neither is better, '
    '{"better": "tie"}.'
)
_GRADED = ' as one line of JSON, with your grade as the number: {"grade": 5}.'
_ONE_OF_FIVE = (
    ' as one line of JSON: {"verdict": "A>>B"} where A is much better, {"verdict": "A>B"} where it '
    'is a little better, {"verdict": "A=B"} where neither is, {"verdict": "B>A"} or '
    '{"verdict": "B>>A"} where B is a little or much better.'
)
Meaning = tuple[float, float]
"""Of a verdict: preference for the answer that stands first, or a grade; and how much it counts."""


@dataclass(frozen=True)
class Wording:
    """How one form of a call is put.

    task      what the judge is to do
    verdict   how it is to say what it found
    key       of the JSON object that is its verdict
    begins    what a verdict begins with, where its log-prob is asked for and not its text
    verdicts  how a verdict goes on -> what it means
    names     of the answers
    """

    task: str
    verdict: str
    key: str
    begins: str
    verdicts: Mapping[str, Meaning]
    names: tuple[str, ...] = ("answer A", "answer B")


_THREE: dict[str, Meaning] = {"A": (1.0, 1.0), "B": (0.0, 1.0), "tie": (0.5, 1.0)}
_FIVE: dict[str, Meaning] = {
    "A>>B": (1.0, STRONG), "A>B": (1.0, 1.0), "A=B": (0.5, 1.0), "B>A": (0.0, 1.0),
    "B>>A": (0.0, STRONG),
}  # fmt: skip


def _ended(verdicts: Mapping[str, Meaning]) -> dict[str, Meaning]:
    return {f'{verdict}"}}': means for verdict, means in verdicts.items()}


_GRADES = {f"{n}}}": (float(n), 1.0) for n in range(int(LOWEST), int(HIGHEST) + 1)}
_BETTER = ("better", '{"better": "', _ended(_THREE))
WORDINGS = {
    Form.GRADE: Wording(GRADE, _GRADED, "grade", '{"grade": ', _GRADES, ("answer",)),
    Form.COMPARE: Wording(COMPARE, _ONE_OF_THREE, *_BETTER),
    Form.CONVERSATIONS: Wording(CONVERSATIONS, _ONE_OF_THREE, *_BETTER),
    Form.FIVE: Wording(COMPARE, _ONE_OF_FIVE, "verdict", '{"verdict": "', _ended(_FIVE)),
}
_SAID = {
    "better": {name.lower(): means for name, means in _THREE.items()},
    "verdict": {name.lower(): means for name, means in _FIVE.items()}
    | {name.lower()[::-1].replace(">", "<"): means for name, means in _FIVE.items()},
}
"""Key -> a verdict in a reply, in small letters -> what it means; A>B may be written B<A."""
_REFUSAL = re.compile(
    r"\b(I('m| am) (sorry|unable|not able)|I (can('|no)t|cannot|won't) (help|assist|judge|compare|"
    r"evaluate|grade|provide|do)|as an AI)\b",
    re.IGNORECASE,
)
_OBJECT = re.compile(r"\{[^{}]*\}")


def version() -> str:
    """12 hex digits that change with any word of what judges are asked: to compare, to grade."""
    compare, grade = WORDINGS[Form.COMPARE], WORDINGS[Form.GRADE]
    verdicts, begins = ({2: getattr(compare, of), 1: getattr(grade, of)}
                        for of in ("verdict", "begins"))  # fmt: skip
    return prompt_hash(
        json.dumps([COMPARE, GRADE, WITH_REASON, ALONE, verdicts, REFERENCE, begins])
    )


def version_of(form: Form) -> str:
    """The same of a form that one evaluator alone asks."""
    wording = WORDINGS[form]
    return prompt_hash(json.dumps([wording.task, wording.verdict, dict(wording.verdicts)]))


def prompt_of(call: Call, reason: bool = True) -> str:
    """The text that a generative judge is given. reason: it may say why before its verdict."""
    wording = WORDINGS[call.form]
    parts = [wording.task]
    if call.before:
        for name, turns in zip("AB", call.before, strict=True):
            parts.append(_block(f"conversation with assistant {name}", _text(turns)))
    else:
        parts.append(_block("conversation", _text(call.prompt)))
    if call.reference is not None:
        parts.append(_block(REFERENCE, call.reference))
    parts += [_block(name, text) for name, text in zip(wording.names, call.answers, strict=True)]
    parts.append((WITH_REASON if reason else ALONE) + wording.verdict)
    return "\n".join(parts)


def _text(turns: tuple[Message, ...]) -> str:
    return "\n\n".join(f"[{message['role']}]\n{text_of(message)}" for message in turns)


def _block(name: str, text: str) -> str:
    return f"----- {name} -----\n{text}\n----- end of {name} -----\n"


def prompt_hash(text: str) -> str:
    """12 hex digits of what a judge was given, answers included."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def hash_of(call: Call) -> str:
    """The same for any judge: of the conversation and the answers in their order."""
    more = [call.before] if call.before else [str(call.form)] if call.five else []
    return prompt_hash(
        json.dumps([call.prompt, call.answers, call.reference, *more], sort_keys=True)
    )


@dataclass(frozen=True)
class Verdict:
    """What a reply says; value None: it gives no verdict, and status says why."""

    status: Status
    value: float | None
    weight: float = 1.0


def read_reply(text: str | None, form: Form, cut: bool = False, refused: bool = False) -> Verdict:
    """A reply to a call of that form. cut: it ended at its limit of tokens. refused: the server
    said that the judge declines."""
    if refused:
        return Verdict(Status.REFUSED, None)
    means = _meaning(text or "", form)
    if means is not None:
        return Verdict(Status.OK, *means)
    if cut:
        return Verdict(Status.TRUNCATED, None)
    return Verdict(Status.REFUSED if _REFUSAL.search(text or "") else Status.UNPARSEABLE, None)


def _meaning(text: str, form: Form) -> Meaning | None:
    for found in reversed(_OBJECT.findall(text)):
        try:
            said = json.loads(found)
        except ValueError:
            continue
        key = WORDINGS[form].key
        if key not in said:
            continue
        if form is not Form.GRADE:
            return _SAID[key].get("".join(str(said[key]).split()).lower())
        grade = said[key]
        number = isinstance(grade, int | float) and not isinstance(grade, bool)
        return (float(grade), 1.0) if number and LOWEST <= grade <= HIGHEST else None
    return None
