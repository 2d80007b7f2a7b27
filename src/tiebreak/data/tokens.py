"""From examples to token ids, which are kept flat on disk: one BOS, one end token per answer,
prompts that are true prefixes.

Conversations go through the chat template. The prompt is rendered with the generation prompt, the
answer is what the template adds when the assistant's turn follows, through its end-of-turn token;
white space the template writes after that token (ChatML's newline) is left out, because a model
stops at the end token and never has to write it. A template that does not close the turn gets the
tokenizer's EOS. Plain rows are the prompt's ids, then the answer's ids and EOS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak.data.examples import Dropped, Example, Message
from tiebreak.errors import UserError
from tiebreak.store import stamps
from tiebreak.warm import kept

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 2


@dataclass(frozen=True)
class Tokens:
    """Token ids ready for the engine; EOS included at the end of each untruncated response.
    Responses of a row stand best first. scores: of ranked lists only, one number per response."""

    ids: list[str]
    prompts: list[list[int]]
    responses: list[tuple[list[int], ...]]
    labels: list[bool | None]
    scores: list[tuple[float, ...]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def content_hash(self) -> str:
        """sha256 of the token ids of prompts and responses; names and labels are not in it."""
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name}:{array.size}:".encode())
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """tokens.safetensors (flat ids and offsets) and tokens.json (row names and labels)."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._arrays(), folder / "tokens.safetensors")
        rows = {"format": FORMAT, "ids": self.ids, "labels": self.labels, "scores": self.scores}
        (folder / "tokens.json").write_text(json.dumps(rows), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Tokens:
        """What `save` wrote, not to be changed: a worker of a sweep gives the same to its next run.
        UserError when the folder holds another format."""
        key = "tokens", stamps(Path(folder).glob("tokens.*"))
        found = kept.get(key)
        if found is None:
            found = cls._read(Path(folder))
            lists = [*found.prompts, *(ids for row in found.responses for ids in row)]
            size = 120 * len(lists) + 8 * sum(map(len, lists))  # bytes: of a list, and of an entry
            kept.put(key, found, size)
        return found

    @classmethod
    def _read(cls, folder: Path) -> Tokens:
        from safetensors.numpy import load_file

        path = folder / "tokens.json"
        rows = json.loads(path.read_text(encoding="utf-8"))
        if rows.get("format") != FORMAT:
            raise UserError(
                f"{path}: format {rows.get('format')!r}, this version reads {FORMAT}; "
                "delete the folder to tokenise again"
            )
        arrays = load_file(folder / "tokens.safetensors")
        prompts = _unflatten(arrays["prompt_ids"], arrays["prompt_offsets"])
        flat = iter(_unflatten(arrays["response_ids"], arrays["response_offsets"]))
        responses = [tuple(next(flat) for _ in range(k)) for k in arrays["num_responses"]]
        scores = rows["scores"]
        if scores is not None:
            scores = [tuple(row) for row in scores]
        return cls(rows["ids"], prompts, responses, rows["labels"], scores)

    def _arrays(self) -> dict[str, np.ndarray]:
        prompts, prompt_offsets = _flatten(self.prompts)
        responses, response_offsets = _flatten([ids for row in self.responses for ids in row])
        return {
            "prompt_ids": prompts,
            "prompt_offsets": prompt_offsets,
            "response_ids": responses,
            "response_offsets": response_offsets,
            "num_responses": np.array([len(row) for row in self.responses], dtype=np.int64),
        }


def _flatten(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return np.array([i for row in rows for i in row], dtype=np.int32), offsets


def _unflatten(flat: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    bounds = offsets.tolist()
    # One object for each id, not one for each place it stands at: a quarter of the memory.
    ids = np.arange(flat.max(initial=0) + 1).astype(object)
    return [ids[flat[a:b]].tolist() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


@dataclass(frozen=True)
class Limits:
    """In tokens. max_length: prompt and answer; max_prompt_length: a longer prompt drops its row.
    Without max_prompt_length a prompt may be one token short of max_length."""

    max_length: int
    max_prompt_length: int | None = None

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise UserError(
                f"data.max_length={self.max_length} must be 2 or more: a prompt and an answer"
            )
        if self.max_prompt_length is not None and not 0 < self.max_prompt_length < self.max_length:
            raise UserError(
                f"data.max_prompt_length={self.max_prompt_length} leaves no room in "
                f"data.max_length={self.max_length}; give a number from 1 to "
                f"{self.max_length - 1}, or null"
            )

    @property
    def prompt(self) -> int:
        return self.max_prompt_length or self.max_length - 1


@dataclass(frozen=True)
class TokenReport:
    """What tokenising did. Counts are rows, per side: chosen and rejected, or response."""

    sides: tuple[str, ...]
    truncated: dict[str, int]  # among kept rows: cut to max_length, so the end token is lost
    emptied: dict[str, int]  # among dropped rows: nothing but the end token is left
    dropped: Dropped
    num_conversations: int
    end_ids: tuple[int, ...]  # the tokens that close an answer: EOS, and the template's if another
    template: str | None  # template_hash of the tokenizer used
    limits: Limits


def tokenise(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, limits: Limits
) -> tuple[Tokens, TokenReport]:
    """Ids of every row that fits. Works for pairs, labelled answers and demonstrations. Rows are
    dropped, by reason, when the prompt is over its limit (prompt-too-long), the template leaves no
    answer (response-emptied), the answer holds an end token before its end (end-token-inside), or
    the answer changes the prompt's last tokens (prompt-not-a-prefix). Raises UserError for a
    tokenizer that cannot encode these rows."""
    eos = _eos_id(tokenizer)
    sides = _sides(examples)
    truncated, emptied = dict.fromkeys(sides, 0), dict.fromkeys(sides, 0)
    places: dict[str, list[str]] = {}
    ends = {eos}
    ranked = any(example.scores is not None for example in examples)
    tokens = Tokens([], [], [], [], [] if ranked else None)
    rows = _encode_rows(examples, tokenizer)
    for example, (prompt, responses) in zip(examples, rows, strict=True):
        reason = _reason(prompt, responses, limits, eos)
        if reason is not None:
            places.setdefault(reason, []).append(example.where)
            if reason == "response-emptied":
                _count(emptied, (len(ids) < 2 for ids in responses))
            continue
        ends.update(ids[-1] for ids in responses)
        room = limits.max_length - len(prompt)
        _count(truncated, (len(ids) > room for ids in responses))
        tokens.ids.append(example.id)
        tokens.prompts.append(prompt)
        tokens.responses.append(tuple(ids[:room] for ids in responses))
        tokens.labels.append(example.label)
        if tokens.scores is not None and example.scores is not None:
            tokens.scores.append(example.scores)
    dropped = Dropped(len(examples), {reason: tuple(p) for reason, p in places.items()})
    conversations = sum(not isinstance(example.prompt, str) for example in examples)
    return tokens, TokenReport(
        sides, truncated, emptied, dropped, conversations,
        tuple(sorted(ends)), template_hash(tokenizer), limits,
    )  # fmt: skip


def template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """sha256 of the chat template; training and evaluation must agree on it."""
    template = tokenizer.chat_template
    if template is None:
        return None
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that is a mark and not text."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def bos_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The BOS this tokenizer puts before a text by itself, or None."""
    bare = _encode(["a"], tokenizer)[0]
    full: list[int] = tokenizer("a")["input_ids"]
    bos = tokenizer.bos_token_id
    return bos if bos is not None and full[:1] == [bos] != bare[:1] else None


def encode_prompts(
    prompts: Sequence[str | list[Message]],
    tokenizer: PreTrainedTokenizerBase,
    where: Sequence[str] | None = None,
) -> list[list[int]]:
    """Ids of prompts as training sees them; generation starts from the same ids."""
    where = where if where is not None else [f"prompt {i + 1}" for i in range(len(prompts))]
    texts = [
        prompt if isinstance(prompt, str) else _render(prompt, tokenizer, place, answer=False)
        for prompt, place in zip(prompts, where, strict=True)
    ]
    return _with_bos(_encode(texts, tokenizer), bos_id(tokenizer))


def _encode_rows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
) -> Iterable[tuple[list[int], tuple[list[int], ...]]]:
    """(prompt, responses) of each row; no responses where they change the prompt's own ids."""

    def text(example: Example, response: str | list[Message]) -> str:
        text = isinstance(response, str)
        if isinstance(example.prompt, str):
            assert text, "messages answer messages"
            return response
        answer = [{"role": "assistant", "content": response}] if text else response
        return _render([*example.prompt, *answer], tokenizer, example.where, answer=True)

    places = [example.where for example in examples]
    prompts = encode_prompts([example.prompt for example in examples], tokenizer, places)
    encoded = iter(_encode([text(e, said) for e in examples for said in e.responses], tokenizer))
    bos, eos, special = bos_id(tokenizer), _eos_id(tokenizer), special_ids(tokenizer)
    for example, prompt in zip(examples, prompts, strict=True):
        answers = [next(encoded) for _ in example.responses]
        if isinstance(example.prompt, str):
            closed = (ids if ids[-1:] == [eos] else [*ids, eos] for ids in answers)
            yield prompt, tuple(closed)
            continue
        whole = _with_bos(answers, bos)
        is_prefix = all(ids[: len(prompt)] == prompt for ids in whole)
        closed = (_close(ids[len(prompt) :], tokenizer, special) for ids in whole)
        yield prompt, tuple(closed) if is_prefix else ()


def _reason(
    prompt: list[int], responses: tuple[list[int], ...], limits: Limits, eos: int
) -> str | None:
    if not responses:
        return "prompt-not-a-prefix"
    if len(prompt) > limits.prompt:
        return "prompt-too-long"
    if any(len(ids) < 2 for ids in responses):
        return "response-emptied"
    if any({eos, ids[-1]} & set(ids[:-1]) for ids in responses):
        return "end-token-inside"
    return None


def _close(ids: list[int], tokenizer: PreTrainedTokenizerBase, special: set[int]) -> list[int]:
    end = len(ids)
    while end and ids[end - 1] not in special and str(tokenizer.decode([ids[end - 1]])).isspace():
        end -= 1
    if end and ids[end - 1] in special:
        return ids[:end]
    return [*ids[:end], _eos_id(tokenizer)]


def _render(
    messages: list[Message], tokenizer: PreTrainedTokenizerBase, where: str, answer: bool
) -> str:
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise UserError(
            f"{where}: a conversation, but the tokenizer has no chat template; start from an "
            "instruct model, set model.chat_template, or give plain prompts"
        )
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not answer
        )
    except TemplateError as error:
        raise UserError(
            f"{where}: the chat template refuses this conversation ({error}); "
            "repair the row or set model.chat_template"
        ) from error
    assert isinstance(text, str)
    return text


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    # Special tokens are ours or the template's to add, and lengths are cut and counted above.
    encoded: Any = tokenizer(texts, add_special_tokens=False, verbose=False)
    return encoded["input_ids"]


def _with_bos(rows: list[list[int]], bos: int | None) -> list[list[int]]:
    """A BOS the template or the text already wrote is not doubled."""
    return rows if bos is None else [ids if ids[:1] == [bos] else [bos, *ids] for ids in rows]


def _eos_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no EOS token; set one (eos_token), answers end in it")
    return int(tokenizer.eos_token_id)


def _sides(examples: Sequence[Example]) -> tuple[str, ...]:
    """What the responses of a row are called, best first."""
    numbers = {len(example.responses) for example in examples}
    assert len(numbers) <= 1, f"rows with different numbers of responses: {numbers}"
    number = numbers.pop() if numbers else 1
    if number == 1:
        return ("response",)
    return ("chosen", *(f"rank {i}" for i in range(2, number)), "rejected")


def _count(counts: dict[str, int], hits: Iterable[bool]) -> None:
    for side, hit in zip(counts, hits, strict=True):
        counts[side] += hit
