"""From one raw row to one `Example`: which forms are understood, and what is wrong with others."""

from __future__ import annotations

import math
from typing import Any

from tiebreak.data.examples import Example, Message
from tiebreak.errors import UserError

Row = dict[str, Any]
ROLES = ("system", "user", "assistant")


def preference(row: Row, where: str, id: str) -> Example:
    """A pair, a ranked list, or a single answer with its label."""
    if "responses" in row or "scores" in row:
        return _ranked(row, where, id)
    paired = "chosen" in row or "rejected" in row
    if paired and ("completion" in row or "label" in row):
        raise UserError(
            f"{where}: both a pair (chosen, rejected) and a labelled answer (completion, label); "
            "keep one of the two"
        )
    if paired:
        return _pair(row, where, id)
    wanted = "prompt, chosen, rejected, or prompt, completion, label"
    completion = _field(row, "completion", where, wanted)
    label = _field(row, "label", where, wanted)
    if not isinstance(label, bool):
        raise UserError(
            f"{where}: 'label' is {label!r}; give true (desirable) or false (undesirable)"
        )
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    prompt, answer = _explicit(prompt, completion, "completion", where)
    return Example(id, prompt, (answer,), label, where)


def demonstration(row: Row, where: str, id: str) -> Example:
    """`messages` that end in an assistant turn, or a prompt and its answer."""
    if "messages" in row and "completion" not in row and "response" not in row:
        messages = _messages(row["messages"], "messages", where)
        prompt, answer = _last_turn(messages, "messages", where)
        return Example(id, _ends_in_user(prompt, "messages", where), (answer,), None, where)
    if "completion" in row and "response" in row:
        raise UserError(f"{where}: both 'completion' and 'response'; keep one of the two")
    wanted = "messages, or prompt with completion or response"
    name = "response" if "response" in row else "completion"
    completion = _field(row, name, where, wanted)
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    prompt, answer = _explicit(prompt, completion, name, where)
    return Example(id, prompt, (answer,), None, where)


def kind(example: Example) -> str:
    """How to name this row in an error."""
    if example.scores is not None:
        return f"a list of {len(example.responses)}"
    return "a pair" if len(example.responses) == 2 else "a single labelled answer"


def _ranked(row: Row, where: str, id: str) -> Example:
    """k answers to one prompt with a score each; kept best first."""
    wanted = "prompt, responses, scores"
    answers = _field(row, "responses", where, wanted)
    scores = _field(row, "scores", where, wanted)
    if not isinstance(answers, list) or not isinstance(scores, list):
        raise UserError(f"{where}: 'responses' and 'scores' must both be lists, one score each")
    if len(answers) != len(scores) or len(answers) < 2:
        raise UserError(
            f"{where}: {len(answers)} responses with {len(scores)} scores; give two or more, "
            "one score each"
        )
    if not all(type(one) in (int, float) and math.isfinite(one) for one in scores):
        raise UserError(f"{where}: 'scores' holds something other than finite numbers; repair it")
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    texts = [_text(answer, f"responses[{i}]", where) for i, answer in enumerate(answers)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    ranked = tuple(texts[i] for i in order)
    return Example(id, prompt, ranked, None, where, tuple(float(scores[i]) for i in order))


def _pair(row: Row, where: str, id: str) -> Example:
    wanted = "prompt, chosen, rejected"
    chosen = _field(row, "chosen", where, wanted)
    rejected = _field(row, "rejected", where, wanted)
    if isinstance(chosen, list) != isinstance(rejected, list):
        raise UserError(
            f"{where}: 'chosen' is {_named(chosen)} and 'rejected' is {_named(rejected)}; "
            "give both as text or both as messages"
        )
    if isinstance(chosen, list) and not isinstance(row.get("prompt"), list):
        prompt, answers = _implicit(row.get("prompt"), chosen, rejected, where)
        return Example(id, prompt, answers, None, where)
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    prompt, best = _explicit(prompt, chosen, "chosen", where)
    prompt, worst = _explicit(prompt, rejected, "rejected", where)
    return Example(id, prompt, (best, worst), None, where)


def _implicit(
    given: object, chosen: object, rejected: object, where: str
) -> tuple[list[Message], tuple[str, str]]:
    """Two whole conversations (as in UltraFeedback): the prompt is all but the last turn."""
    before, best = _last_turn(_messages(chosen, "chosen", where), "chosen", where)
    other, worst = _last_turn(_messages(rejected, "rejected", where), "rejected", where)
    if before != other:
        raise UserError(
            f"{where}: 'chosen' and 'rejected' part before their last turn; a pair is two answers "
            "to one prompt, so all turns but the last must be the same"
        )
    text = None if given is None else _text(given, "prompt", where)
    if not before and text is not None:
        before = [{"role": "user", "content": text}]
    if not before:
        raise UserError(f"{where}: 'chosen' holds no turn before the answer; give a 'prompt'")
    if text is not None and text.strip() not in [m["content"].strip() for m in before]:
        raise UserError(
            f"{where}: 'prompt' is none of the turns before the answer in 'chosen'; "
            "leave 'prompt' out or make it agree"
        )
    return _ends_in_user(before, "chosen", where), (best, worst)


def _explicit(
    prompt: str | list[Message], value: object, name: str, where: str
) -> tuple[str | list[Message], str]:
    """The answer given as text, as its one assistant turn, or as the prompt with that turn."""
    if not isinstance(value, list):
        return prompt, _text(value, name, where)
    before, answer = _last_turn(_messages(value, name, where), name, where)
    # A text prompt answered by messages is a conversation of one user turn.
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if before and before != turns:
        raise UserError(
            f"{where}: the turns before the answer in {name!r} are not those of 'prompt'; "
            "give only the assistant turn, or the same conversation"
        )
    return turns, answer


def _field(row: Row, name: str, where: str, wanted: str) -> object:
    if name not in row:
        found = ", ".join(sorted(row)) or "none"
        raise UserError(f"{where}: no field {name!r} (fields found: {found}); a row has {wanted}")
    return row[name]


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is {_named(value)}; give text or a list of messages")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: {name!r} is not valid Unicode ({error}); repair it") from error
    return value


def _prompt(value: object, where: str) -> str | list[Message]:
    if isinstance(value, list):
        messages = _messages(value, "prompt", where)
        return _ends_in_user(messages, "prompt", where) if messages else messages
    return _text(value, "prompt", where)


def _messages(value: object, name: str, where: str) -> list[Message]:
    if not isinstance(value, list):
        raise UserError(f"{where}: {name!r} is {_named(value)}; give a list of messages")
    return [_message(turn, f"{name}[{i}]", where) for i, turn in enumerate(value)]


def _message(turn: object, name: str, where: str) -> Message:
    if not isinstance(turn, dict):
        raise UserError(f"{where}: {name} is {_named(turn)}; a message has 'role' and 'content'")
    if "role" not in turn or "content" not in turn:
        raise UserError(
            f"{where}: {name} has the fields {', '.join(sorted(turn)) or 'none'}; "
            "a message has 'role' and 'content'"
        )
    if turn["role"] not in ROLES:
        raise UserError(f"{where}: {name} has role {turn['role']!r}; use one of {', '.join(ROLES)}")
    return {"role": turn["role"], "content": _text(turn["content"], f"{name}.content", where)}


def _last_turn(messages: list[Message], name: str, where: str) -> tuple[list[Message], str]:
    if not messages or messages[-1]["role"] != "assistant":
        last = f"ends in a {messages[-1]['role']} turn" if messages else "is empty"
        raise UserError(f"{where}: {name!r} {last}; it must end in the assistant's answer")
    return messages[:-1], messages[-1]["content"]


def _ends_in_user(messages: list[Message], name: str, where: str) -> list[Message]:
    if not messages or messages[-1]["role"] != "user":
        last = f"ends in a {messages[-1]['role']} turn" if messages else "is empty"
        raise UserError(f"{where}: the prompt in {name!r} {last}; it must end in a user turn")
    return messages


def _named(value: object) -> str:
    return {list: "a list", dict: "an object", str: "text"}.get(
        type(value), f"a {type(value).__name__}"
    )
