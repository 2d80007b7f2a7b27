"""From examples to token ids, which are kept flat on disk: one BOS, one end token per answer,
prompts that are true prefixes.

The prompt of a conversation is rendered with the generation prompt; the answer is what its chat
template adds when the assistant's turn follows, through the first mark after the answer's text (a
model stops there and never writes what the template puts behind it). A template that does not
close the turn gets the tokenizer's EOS. Plain rows are prompt and answer as one text, and EOS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak.data.encode import (
    Row,
    TemplateUse,
    encode_rows,
    eos_id,
    prompt_ids,
    prompt_text,
    sides_of,
    template_use,
)
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
    use: TemplateUse = TemplateUse()
    lost: tuple[tuple[str, str, str], ...] = ()  # (id, field, text) that the template leaves out
    merged: tuple[str, ...] = ()  # ids of plain rows with a token across the boundary


def tokenise(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    joined: bool = True,
) -> tuple[Tokens, TokenReport]:
    """Ids of every row that fits. Works for pairs, labelled answers and demonstrations. joined: a
    plain prompt and its answer are encoded as one text, else each by itself. Rows are dropped, by
    reason, when the prompt is over its limit (prompt-too-long), the template leaves no answer
    (response-emptied), the answer holds an end token before its end (end-token-inside), or the
    answer changes the prompt's last tokens (prompt-not-a-prefix). Raises UserError for a tokenizer
    or a chat template that cannot encode these rows."""
    eos, sides, use = eos_id(tokenizer), sides_of(examples), template_use(examples, tokenizer)
    truncated, emptied = dict.fromkeys(sides, 0), dict.fromkeys(sides, 0)
    places: dict[str, list[str]] = {}
    kept: list[tuple[Example, Row]] = []
    for example, row in zip(
        examples, encode_rows(examples, tokenizer, joined, use.end), strict=True
    ):
        if (reason := _reason(row.prompt, row.responses, limits, eos)) is None:
            kept.append((example, row))
            room = limits.max_length - len(row.prompt)
            _count(truncated, (len(ids) > room for ids in row.responses))
            continue
        places.setdefault(reason, []).append(example.where)
        if reason == "response-emptied":
            _count(emptied, (len(ids) < 2 for ids in row.responses))
    ends = {eos} | {ids[-1] for _, row in kept for ids in row.responses}
    ends |= set() if use.end is None else {use.end}
    ranked = any(example.scores is not None for example in examples)
    return _cut(kept, limits, ranked), TokenReport(
        sides, truncated, emptied,
        Dropped(len(examples), {reason: tuple(p) for reason, p in places.items()}),
        sum(not isinstance(example.prompt, str) for example in examples),
        tuple(sorted(ends)), template_hash(tokenizer), limits, use,
        tuple((example.id, *lost) for example, row in kept for lost in row.lost),
        tuple(example.id for example, row in kept if row.merged),
    )  # fmt: skip


def _cut(kept: Sequence[tuple[Example, Row]], limits: Limits, ranked: bool) -> Tokens:
    """The rows at their limit of length."""
    scores = [example.scores for example, _ in kept if example.scores is not None]
    return Tokens(
        [example.id for example, _ in kept],
        [row.prompt for _, row in kept],
        [tuple(ids[: limits.max_length - len(row.prompt)] for ids in row.responses)
         for _, row in kept],
        [example.label for example, _ in kept],
        scores if ranked else None,
    )  # fmt: skip


def template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """sha256 of the chat template; training and evaluation must agree on it."""
    template = tokenizer.chat_template
    if template is None:
        return None
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def encode_prompts(
    prompts: Sequence[str | list[Message]],
    tokenizer: PreTrainedTokenizerBase,
    where: Sequence[str] | None = None,
    templates: Sequence[Mapping[str, Any]] | None = None,
) -> list[list[int]]:
    """Ids of prompts as training sees them; generation starts from the same ids. templates: what
    the chat template of each is given beside the messages (`Example.template`)."""
    where = where if where is not None else [f"prompt {i + 1}" for i in range(len(prompts))]
    templates = templates if templates is not None else [{}] * len(prompts)
    given = zip(prompts, where, templates, strict=True)
    return prompt_ids([prompt_text(*one, tokenizer) for one in given], prompts, tokenizer)


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


def _count(counts: dict[str, int], hits: Iterable[bool]) -> None:
    for side, hit in zip(counts, hits, strict=True):
        counts[side] += hit
