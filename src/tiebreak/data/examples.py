"""The one shape every source of data is brought into, and which rows of it cannot be used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tiebreak.errors import UserError

# Reasons that have no part in data.max_dropped_share: such rows are as they should be.
SHARED, NO_PREFERENCE = "prompt-in-test", "no-preference"

Message = dict[str, Any]  # role, content, and whatever else its template writes: tool_calls, ...


@dataclass(frozen=True)
class Example:
    """One untokenised row. prompt: plain text, or the messages before the answer. A response: text,
    or the answer's one message."""

    id: str
    prompt: str | list[Message]
    responses: tuple[str | list[Message], ...]  # (chosen, rejected); best first; or (response,)
    label: bool | None = None  # of a single response: desirable, or undesirable; else None
    where: str = ""  # "file.jsonl:12", for errors
    scores: tuple[float, ...] | None = None  # of a ranked list: one number per response
    tools: list | None = None
    template_kwargs: dict | None = None
    form: str = ""  # how the row was understood, in words
    notes: tuple[tuple[str, str], ...] = ()  # (code of a finding, the column it is about)
    unfit: str | None = None  # why the row cannot be used, where that was seen on reading
    category: str | None = None  # what a column category, subset or domain says

    @property
    def template(self) -> dict[str, Any]:
        """What its chat template is given beside the messages."""
        return ({"tools": self.tools} if self.tools else {}) | (self.template_kwargs or {})


def text_of(turn: str | Message) -> str:
    """All that a turn says: its content; what other fields hold, as JSON."""
    if isinstance(turn, str):
        return turn
    content = turn.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    more = {key: turn[key] for key in sorted(turn) if key not in ("role", "content") and turn[key]}
    return content + (json.dumps(more) if more else "")


def answer_of(response: str | list[Message]) -> str:
    """All that a response says."""
    return response if isinstance(response, str) else text_of(response[-1])


def prompt_key(prompt: str | list[Message]) -> tuple[tuple[str, str], ...]:
    """What makes two prompts the same: their turns, without surrounding white space. A plain prompt
    equals a conversation of that single user turn."""
    if isinstance(prompt, str):
        return (("user", prompt.strip()),)
    return tuple((message["role"], text_of(message).strip()) for message in prompt)


def conversations(examples: Sequence[Example]) -> list[Example]:
    """The rows, each plain prompt as the only user turn of a conversation."""
    return [
        replace(one, prompt=[{"role": "user", "content": one.prompt}])
        if isinstance(one.prompt, str)
        else one
        for one in examples
    ]


def near_key(prompt: str | list[Message]) -> str:
    """The same for prompts that differ in case, in marks between words or in white space alone."""
    text = " ".join(text for _, text in prompt_key(prompt)).lower()
    return " ".join(re.sub(r"[.,;:!?'\"]", " ", text).split())


@dataclass(frozen=True)
class Dropped:
    """Rows left out: how many were read, and the places left out by reason."""

    total: int
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of rows, as the record's manifest keeps it."""
        return {reason: len(places) for reason, places in sorted(self.places.items())}

    @property
    def share(self) -> float:
        return sum(self.counts.values()) / self.total if self.total else 0.0

    def then(self, later: Dropped) -> Dropped:
        """This and what a later step dropped from the rows this one kept."""
        assert later.total == self.total - sum(self.counts.values()), "steps do not follow"
        reasons = {*self.places, *later.places}
        both = {r: self.places.get(r, ()) + later.places.get(r, ()) for r in sorted(reasons)}
        return Dropped(self.total, both)


def drop_untrainable(examples: Sequence[Example]) -> tuple[list[Example], Dropped]:
    """The rows with a prompt, answers, and (in a pair) two different ones; and what was dropped."""
    kept: list[Example] = []
    places: dict[str, list[str]] = {}
    for example in examples:
        if (reason := _reason(example)) is None:
            kept.append(example)
        else:
            places.setdefault(reason, []).append(example.where)
    return kept, Dropped(len(examples), {reason: tuple(where) for reason, where in places.items()})


def refuse_if_many(dropped: Dropped, max_dropped_share: float = 0.01) -> None:
    """UserError when more than this share of the rows was left out, or all of them."""
    num_dropped = sum(dropped.counts.values())
    expected = dropped.counts.get(SHARED, 0) + dropped.counts.get(NO_PREFERENCE, 0)
    share = (num_dropped - expected) / dropped.total if dropped.total else 0.0
    if share <= max_dropped_share and num_dropped < dropped.total:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.counts.items())
    first = [place for places in dropped.places.values() for place in places[:3]][:5]
    raise UserError(
        f"{num_dropped} of {dropped.total} rows ({dropped.share:.1%}) cannot be trained on: "
        f"{reasons}; first: {', '.join(first)}; fix the rows or raise data.max_dropped_share "
        f"(now {max_dropped_share:g})"
    )


def drop_shared_prompts(
    train: Sequence[Example], test: Sequence[Example], most: float
) -> list[Example]:
    """The training rows, those with a prompt of the test set marked as unfit. UserError when they
    are more than the share `most`."""
    places = {prompt_key(example.prompt): example.where for example in reversed(test)}
    marked = [
        replace(one, unfit=SHARED) if prompt_key(one.prompt) in places else one for one in train
    ]
    shared = [one for one in marked if one.unfit == SHARED]
    if len(shared) > most * len(train):
        raise UserError(
            f"{len(shared)} of {len(train)} training rows ({len(shared) / len(train):.1%}) have a "
            f"prompt of the test data, first {shared[0].where} and "
            f"{places[prompt_key(shared[0].prompt)]}; they would be left out of training: give "
            f"other test data, none (data.test=null splits by prompt), or raise "
            f"data.max_shared_prompts (now {most:g})"
        )
    return marked


def split_by_prompt(
    examples: Sequence[Example], share: float, seed: int, key: str = "data.test_share"
) -> tuple[list[Example], list[Example]]:
    """(training, held out) with no prompt on both sides. `key`: what set the share, for errors.
    Prompts are ranked by a hash of the seed and the prompt and are held out, with all their rows,
    until these are `share` of the rows. The order of the rows changes nothing, and adding rows
    moves few prompts."""
    if not 0 < share < 1:
        raise UserError(f"{key}={share!r}; give a share between 0 and 1")
    groups: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        text = json.dumps([seed, prompt_key(example.prompt)])
        groups.setdefault(hashlib.sha256(text.encode()).hexdigest(), []).append(i)
    if len(groups) < 2:
        raise UserError(
            f"{key}={share!r}: {len(groups)} different prompts cannot be split; give more rows, or "
            "a separate test file with data.test"
        )
    wanted = max(1, round(share * len(examples)))
    held_out: set[int] = set()
    for rank in sorted(groups)[:-1]:  # one prompt at least stays on the training side
        if len(held_out) >= wanted:
            break
        held_out.update(groups[rank])
    train = [example for i, example in enumerate(examples) if i not in held_out]
    return train, [examples[i] for i in sorted(held_out)]


def _reason(example: Example) -> str | None:
    if example.unfit is not None:
        return example.unfit
    prompt = example.prompt
    last = prompt if isinstance(prompt, str) else prompt[-1] if prompt else ""
    if not text_of(last).strip():
        return "empty-prompt"
    answers = [answer_of(response).strip() for response in example.responses]
    if not all(answers):
        return "empty-response"
    if len(answers) > 1 and answers[0] == answers[-1]:
        return "chosen-is-rejected"
    if example.scores is not None and example.scores[0] == example.scores[-1]:
        return "scores-all-equal"
    return None
