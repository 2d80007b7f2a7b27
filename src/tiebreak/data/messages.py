"""Texts and messages as rows hold them, checked. A message keeps all its fields; a conversation may
also stand as JSON text, in ShareGPT's words (from, value), or with its content in parts of text."""

from __future__ import annotations

import math
import re
from typing import Any

from tiebreak.data.examples import Message
from tiebreak.data.formats import parse_json
from tiebreak.errors import UserError, nearest

Prompt = str | list[Message]
ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "model", "bot"), "assistant"),
    **{"system": "system", "tool": "tool", "observation": "tool"},
}
MOST_NESTED = 100  # levels of lists and objects in a field of a message
# Messages that Python has written (str, repr): a list, a tuple, an array or one message.
_REPR = re.compile(r"\s*(array\(|\[|\()*\s*\{\s*'(role|content|from|value)'\s*:")


def checked_text(value: object, name: str, wanted: str = "text or a list of messages") -> str:
    """A text of valid Unicode; UserError for anything else."""
    if not isinstance(value, str):
        raise UserError(f"{name!r} is {_named(value)}; give {wanted}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{name!r} is not valid Unicode ({error}); repair it") from error
    return value


def read_json(value: Any) -> Any:
    """What a text holds as JSON, if it is a list or an object; else the value as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse_json(value)
    except ValueError:
        return value


def turns_of(value: object, name: str) -> Prompt:
    """A text, or messages: a list, one message alone, or either as JSON text."""
    if isinstance(value, str):
        text = checked_text(value, name)
        if _REPR.match(text):
            raise UserError(
                f"{name!r} holds messages as Python prints them; write them as a list, or as JSON "
                "(json.dumps)"
            )
        value = read_json(text)
        whole = value if isinstance(value, list) else [value]
        if not whole or not all(isinstance(one, dict) and _SAID & {*one} for one in whole):
            return text
    return messages_of([value] if isinstance(value, dict) else value, name)


_SAID = {"role", "from"}


def messages_of(value: object, name: str) -> list[Message]:
    """Each message checked; UserError with its place in the list."""
    if not isinstance(value, list):
        raise UserError(f"{name!r} is {_named(value)}; give text or a list of messages")
    return [_message(turn, f"{name}[{i}]") for i, turn in enumerate(value)]


def _message(turn: object, name: str) -> Message:
    """{"role", "content"} and whatever else the message has that is not null."""
    if not isinstance(turn, dict):
        raise UserError(f"{name} is {_named(turn)}; a message has 'role' and 'content'")
    if "role" not in turn and "from" in turn:
        who = turn["from"]
        role = SPEAKERS.get(who) if isinstance(who, str) else None
        if role is None:
            raise UserError(
                f"{name} is from {who!r}; use one of {', '.join(SPEAKERS)}, or write it as a "
                "message with 'role' and 'content' (a call of a function: 'tool_calls')"
            )
        more = {key: one for key, one in turn.items() if key not in ("from", "value")}
        turn = {"role": role, "content": turn.get("value"), **more}
    more = {k: v for k, v in turn.items() if k not in ("role", "content") and v is not None}
    if "role" not in turn or ("content" not in turn and not more):
        found = ", ".join(sorted(map(str, turn))) or "none"
        raise UserError(f"{name} has the fields {found}; a message has 'role' and 'content'")
    if turn["role"] not in ROLES:
        hint = nearest(str(turn["role"]), ROLES)
        raise UserError(f"{name} has role {turn['role']!r}{hint}; use one of {', '.join(ROLES)}")
    calls = turn["role"] == "assistant" and more
    content = turn.get("content", "" if calls else None)
    if content is not None or not calls:
        content = _content(content, f"{name}.content")
    return {"role": turn["role"], "content": content, **(plain_json(more, name) if more else {})}


def _content(content: object, name: str) -> str:
    """The text of a message; of parts, those of text joined."""
    if not isinstance(content, list):
        return checked_text(content, name, "text, or a list of parts of text")
    texts = []
    for i, part in enumerate(content):
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text"):
            what = f"a part of type {kind!r}" if kind else _named(part)
            raise UserError(
                f"{name}[{i}] is {what}; only parts of text can be used, "
                '{"type": "text", "text": ...}: take the row out, or the part'
            )
        texts.append(checked_text(part.get("text"), f"{name}[{i}].text", "text"))
    return "".join(texts)


def plain_json(value: Any, name: str) -> Any:
    """The value, which a template may read: JSON of at most MOST_NESTED levels, valid Unicode."""
    level = [value]
    for _ in range(MOST_NESTED):
        inside: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inside += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inside += one
            elif isinstance(one, str):
                checked_text(one, name)
            elif not (one is None or type(one) in (int, float, bool) and math.isfinite(one)):
                raise UserError(f"{name} holds {_named(one)} ({one!r:.40}); write it as text")
        if not (level := inside):
            return value
    raise UserError(f"{name} is nested over {MOST_NESTED} levels; flatten it")


def parted(given: object, answers: list[tuple[str, Any]]) -> tuple[Prompt, list[Prompt]]:
    """(prompt, responses). given: the prompt, or None. answers: names and values; a value is text,
    or messages of which the last is the answer, with or without the turns before it."""
    prompt = None if given is None else turns_of(given, "prompt")
    read = [(name, turns_of(value, name)) for name, value in answers]
    told = [f"{n!r} is {'text' if isinstance(turns, str) else 'a list'}" for n, turns in read]
    if len({isinstance(turns, str) for _, turns in read}) > 1:
        raise UserError(f"{' and '.join(told)}; give both as text or both as messages")
    name, first = read[0]
    if isinstance(first, str):
        if prompt is None:
            raise UserError(f"{name!r} is text and there is no 'prompt'; give a 'prompt'")
        return _asked(prompt, "prompt"), [turns for _, turns in read]
    befores = [_before(turns, name) for name, turns in read]
    responses = [_answer(turns[-1:]) for _, turns in read]
    if not isinstance(prompt, list):
        return _asked(_implicit(prompt, befores, name), name), responses
    for (name, _), before in zip(read, befores, strict=True):
        if before and before != prompt:
            raise UserError(
                f"the turns before the answer in {name!r} are not those of 'prompt'; "
                "give only the assistant turn, or the same conversation"
            )
    return _asked(prompt, "prompt"), responses


def _implicit(text: str | None, befores: list[list[Message]], name: str) -> list[Message]:
    """The turns that whole conversations share; a text prompt beside them must be of theirs."""
    before = befores[0]
    if any(other != before for other in befores):
        raise UserError(
            "'chosen' and 'rejected' part before their last turn; a pair is two answers "
            "to one prompt, so all turns but the last must be the same"
        )
    if text is None or before:
        asked = (text or "").strip()
        said = [(turn["content"] or "").strip() for turn in before]
        if not before:
            raise UserError(f"{name!r} holds no turn before the answer; give a 'prompt'")
        if text is not None and not any(one == asked or one and one in asked for one in said):
            raise UserError(
                f"'prompt' is none of the turns before the answer in {name!r}; "
                "leave 'prompt' out or make it agree"
            )
        return before
    return [{"role": "user", "content": text}]


def _before(turns: Any, name: str) -> list[Message]:
    _check_end(turns, ("assistant",), repr(name), "the assistant's answer")
    return turns[:-1]


def _answer(last: Any) -> Prompt:
    """Text, where the turn is nothing but text."""
    return last[0]["content"] if len(last[0]) == 2 else last


def _asked(prompt: Prompt, name: str) -> Prompt:
    if prompt and not isinstance(prompt, str):
        ends = ("user", "tool", "function", "ipython")
        _check_end(prompt, ends, f"the prompt in {name!r}", "a user turn, or a tool's")
    return prompt


def _check_end(messages: list[Message], roles: tuple[str, ...], what: str, wanted: str) -> None:
    if not messages or messages[-1]["role"] not in roles:
        last = f"ends in a {messages[-1]['role']} turn" if messages else "is empty"
        raise UserError(f"{what} {last}; it must end in {wanted}")


def _named(value: object) -> str:
    words = {list: "a list", dict: "an object", str: "text", type(None): "null"}
    return words.get(type(value), f"a {type(value).__name__}")
