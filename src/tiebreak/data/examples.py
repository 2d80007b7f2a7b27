"""The one shape every source of data is brought into."""

from __future__ import annotations

from dataclasses import dataclass

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}


@dataclass(frozen=True)
class Example:
    """One untokenised row. prompt: plain text, or messages that end in a user turn."""

    id: str
    prompt: str | list[Message]
    responses: tuple[str, ...]  # (chosen, rejected); a ranked list, best first; or (response,)
    label: bool | None = None  # of a single response: desirable, or undesirable; else None
    where: str = ""  # "file.jsonl:12", for errors
    scores: tuple[float, ...] | None = None  # of a ranked list: one number per response


def prompt_key(prompt: str | list[Message]) -> tuple[tuple[str, str], ...]:
    """What makes two prompts the same: their turns, without surrounding white space.

    A plain prompt equals a conversation of that single user turn.
    """
    if isinstance(prompt, str):
        return (("user", prompt.strip()),)
    return tuple((message["role"], message["content"].strip()) for message in prompt)
