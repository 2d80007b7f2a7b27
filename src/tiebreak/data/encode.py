"""One row as token ids: the prompt's, and those that its answers add.

A conversation is what its chat template writes, a plain row what the tokenizer makes of prompt and
answer as one text (or, if asked, of each by itself).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiebreak.data.examples import Example, Message
from tiebreak.data.template import active, left_out, render, variables
from tiebreak.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE = re.compile("<0x[0-9A-F]{2}>")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that is a mark and not text: nor does one that stands for a byte, or for what has
    no token, count."""
    marks = tokenizer.added_tokens_decoder
    special = {i for i, token in marks.items() if token.special} | set(tokenizer.all_special_ids)
    bytes_ = {i for i, token in marks.items() if _BYTE.fullmatch(token.content)}
    return special - bytes_ - {tokenizer.unk_token_id} | {tokenizer.eos_token_id} - {None}


def text_prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens this tokenizer puts before every text by itself."""
    bare = _encode(["a"], tokenizer)[0]
    full: list[int] = tokenizer("a")["input_ids"]
    starts = (at for at in range(len(full)) if full[at : at + len(bare)] == bare)
    return full[: next(starts, 0)]


def bos_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The BOS among these, or None."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id in text_prefix(tokenizer) else None


def prompt_text(
    prompt: str | list[Message],
    where: str,
    template: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    if isinstance(prompt, str):
        return prompt
    return render(prompt, tokenizer, where, template, prompt=True)


def prompt_ids(
    texts: list[str],
    prompts: Sequence[str | list[Message]],
    tokenizer: PreTrainedTokenizerBase,
) -> list[list[int]]:
    """A conversation gets no more than a BOS: the rest is its template's to write."""
    before, bos = text_prefix(tokenizer), _one_bos(tokenizer)
    encoded = zip(prompts, _encode(texts, tokenizer), strict=True)
    return [_after(before if isinstance(one, str) else bos, ids) for one, ids in encoded]


@dataclass(frozen=True)
class Row:
    """responses: none where they change the prompt's own ids. lost: (field, text) that the template
    leaves out. merged: written as one text, a token would lie across the boundary."""

    prompt: list[int]
    responses: tuple[list[int], ...]
    lost: list[tuple[str, str]]
    merged: bool = False


def encode_rows(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    joined: bool,
    end: int | None,
) -> Iterator[Row]:
    texts = [prompt_text(e.prompt, e.where, e.template, tokenizer) for e in examples]
    prompts = prompt_ids(texts, [example.prompt for example in examples], tokenizer)
    whole = [[_whole(e, text, said, tokenizer, joined) for said in e.responses]
             for e, text in zip(examples, texts, strict=True)]  # fmt: skip
    encoded = iter(_encode([text for row in whole for text in row], tokenizer))
    before, bos, marks = text_prefix(tokenizer), _one_bos(tokenizer), _Marks.of(tokenizer, end)
    sides, eos = sides_of(examples), eos_id(tokenizer)
    for example, text, prompt, row in zip(examples, texts, prompts, whole, strict=True):
        answers = [next(encoded) for _ in row]
        if isinstance(example.prompt, str):
            parts = [_after(before, ids) for ids in answers] if joined else answers
            yield _plain_row(example, prompt, parts, tokenizer, joined, eos)
            continue
        parts = [_after(bos, ids) for ids in answers]
        is_prefix = all(ids[: len(prompt)] == prompt for ids in parts)
        closed = (_close(ids[len(prompt) :], tokenizer, marks) for ids in parts)
        lost = list(_lost(example, text, row, sides))
        yield Row(prompt, tuple(closed) if is_prefix else (), lost)


def _whole(
    example: Example,
    prompt: str,
    response: str | list[Message],
    tokenizer: PreTrainedTokenizerBase,
    joined: bool,
) -> str:
    """The text whose ids hold those of the response."""
    if isinstance(example.prompt, str):
        assert isinstance(response, str), f"{example.where}: messages answer a plain prompt"
        return prompt + response if joined else response
    turns = [*example.prompt, _message(response, example.where)]
    return render(turns, tokenizer, example.where, example.template, prompt=False)


def _message(response: str | list[Message], where: str) -> Message:
    if isinstance(response, str):
        return {"role": "assistant", "content": response}
    if len(response) != 1:
        raise UserError(
            f"{where}: an answer of {len(response)} turns; give its last turn as the answer, the "
            "turns before it at the end of the prompt"
        )
    return response[0]


def _plain_row(
    example: Example,
    prompt: list[int],
    parts: list[list[int]],
    tokenizer: PreTrainedTokenizerBase,
    joined: bool,
    eos: int,
) -> Row:
    """Where a token of the whole lies across the boundary, the prompt keeps the ids that generation
    starts from, and the answer's text follows them."""
    whole = [ids[: len(prompt)] == prompt for ids in parts]
    if joined:
        said = zip(example.responses, parts, whole, strict=True)
        parts = [ids[len(prompt) :] if fits else _inside(str(text), tokenizer)
                 for text, ids, fits in said]  # fmt: skip
    closed = tuple(ids if ids[-1:] == [eos] else [*ids, eos] for ids in parts)
    return Row(prompt, closed, [], joined and not all(whole))


def _inside(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of a text that does not begin one: without what a tokenizer writes at a beginning."""
    line, ids = _encode(["\n", "\n" + text], tokenizer)
    return ids[len(line) :] if ids[: len(line)] == line else _encode([text], tokenizer)[0]


def _lost(
    example: Example, prompt: str, whole: list[str], sides: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """What of a conversation is not in its rendering; of an answer: not behind the prompt."""
    yield from left_out(example.prompt, prompt, "prompt")
    for name in ("tools", "documents"):
        yield from left_out(example.template.get(name), prompt, name)
    for side, response, text in zip(sides, example.responses, whole, strict=True):
        yield from left_out(_message(response, ""), text.removeprefix(prompt), side)


@dataclass(frozen=True)
class _Marks:
    """What may follow the text of an answer. special: tokens that are no text; added: others that
    were added to the vocabulary, some by templates; end: the template's own mark of these."""

    special: set[int]
    added: set[int]
    end: int | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, end: int | None) -> _Marks:
        added = {i for i, token in tokenizer.added_tokens_decoder.items() if not token.special}
        return cls(special_ids(tokenizer), added, end)


def _close(ids: list[int], tokenizer: PreTrainedTokenizerBase, marks: _Marks) -> list[int]:
    """The answer through the first mark after its text; EOS where there is none."""
    last = len(ids)
    while last and _is_blank(ids[last - 1], tokenizer):
        last -= 1
    text, known = last, marks.special | marks.added
    while text and (ids[text - 1] in known or _is_blank(ids[text - 1], tokenizer)):
        text -= 1
    for closes in (marks.special, {marks.end}):
        found = next((at for at in range(text, last) if ids[at] in closes), None)
        if found is not None:
            return ids[: found + 1]
    return [*ids[:last], eos_id(tokenizer)]


def _is_blank(id: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    return str(tokenizer.decode([id])).isspace()


@dataclass(frozen=True)
class TemplateUse:
    """What the first conversation tells of its template. end: the first token after an answer that
    is no text. header: text between prompt and answer, which is scored with the answer. dated:
    whether it asks for the date. unread: arguments of its own that it does not read."""

    end: int | None = None
    header: str = ""
    dated: bool = False
    unread: tuple[str, ...] = ()


def template_use(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> TemplateUse:
    example = next((e for e in examples if not isinstance(e.prompt, str)), None)
    if example is None:
        return TemplateUse()
    prompt, probe = prompt_text(example.prompt, example.where, example.template, tokenizer), "probe"
    before, found, after = _whole(example, prompt, probe, tokenizer, True).rpartition(probe)
    tail = _encode([after], tokenizer)[0] if found and after else []
    added = tokenizer.added_tokens_decoder
    marks = (i for i in tail if i in added and not _is_blank(i, tokenizer))
    header = before[len(prompt) :].strip() if found and before.startswith(prompt) else ""
    read = variables(active(tokenizer, example.template) or "")
    given = {name for e in examples for name in e.template_kwargs or ()} - {"documents"}
    return TemplateUse(
        next(marks, None), header, "strftime_now" in read, tuple(sorted(given - read))
    )


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    # Special tokens are ours or the template's to add, and lengths are cut and counted above.
    encoded: Any = tokenizer(texts, add_special_tokens=False, verbose=False)
    return encoded["input_ids"]


def _after(before: list[int], ids: list[int]) -> list[int]:
    """What the template or the text already wrote is not doubled."""
    return ids if ids[: len(before)] == before else [*before, *ids]


def _one_bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    bos = bos_id(tokenizer)
    return [] if bos is None else [bos]


def eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no EOS token; set one (eos_token), answers end in it")
    return int(tokenizer.eos_token_id)


def sides_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """What the responses of a row are called, best first."""
    numbers = {len(example.responses) for example in examples}
    assert len(numbers) <= 1, f"rows with different numbers of responses: {numbers}"
    number = numbers.pop() if numbers else 1
    if number == 1:
        return ("response",)
    return ("chosen", *(f"rank {i}" for i in range(2, number)), "rejected")
