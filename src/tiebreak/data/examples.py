"""The one shape every source of data is brought into, and which rows of it cannot be used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tiebreak.errors import UserError

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
    tools: list | None = None
    template_kwargs: dict | None = None


def prompt_key(prompt: str | list[Message]) -> tuple[tuple[str, str], ...]:
    """What makes two prompts the same: their turns, without surrounding white space. A plain prompt
    equals a conversation of that single user turn."""
    if isinstance(prompt, str):
        return (("user", prompt.strip()),)
    return tuple((message["role"], message["content"].strip()) for message in prompt)


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
    if dropped.share <= max_dropped_share and num_dropped < dropped.total:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.counts.items())
    first = [place for places in dropped.places.values() for place in places[:3]][:5]
    raise UserError(
        f"{num_dropped} of {dropped.total} rows ({dropped.share:.1%}) cannot be trained on: "
        f"{reasons}; first: {', '.join(first)}; fix the rows or raise data.max_dropped_share "
        f"(now {max_dropped_share:g})"
    )


def refuse_shared_prompts(train: Sequence[Example], test: Sequence[Example]) -> None:
    """UserError when a prompt of the test set is also in the training set."""
    places = {prompt_key(example.prompt): example.where for example in reversed(train)}
    shared: dict[tuple[tuple[str, str], ...], str] = {}
    for example in test:
        if (key := prompt_key(example.prompt)) in places:
            shared.setdefault(key, example.where)
    if not shared:
        return
    key, test_place = next(iter(shared.items()))
    raise UserError(
        f"{len(shared)} prompts are in both the training and the test data, first "
        f"{places[key]} and {test_place}; remove them from one side, or give no test file and "
        "split by prompt with data.test_share"
    )


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
    prompt = example.prompt
    last = prompt if isinstance(prompt, str) else prompt[-1]["content"] if prompt else ""
    if not last.strip():
        return "empty-prompt"
    answers = [response.strip() for response in example.responses]
    if not all(answers):
        return "empty-response"
    if len(answers) > 1 and answers[0] == answers[-1]:
        return "chosen-is-rejected"
    if example.scores is not None and example.scores[0] == example.scores[-1]:
        return "scores-all-equal"
    return None
