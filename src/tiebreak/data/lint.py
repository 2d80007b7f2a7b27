"""What is suspicious in the token ids, found before a single step is trained. Errors stop a run
(`refuse`), warnings are shown: a doubled or missing BOS, a missing end token, a prompt that is no
prefix, and answers that truncation has cut, emptied or made alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from tiebreak.data.examples import Example
from tiebreak.data.tokens import TokenReport, Tokens, bos_id, encode_prompts, template_hash
from tiebreak.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TRUNCATED_SHARE = 0.5  # of one side; more is an error, less a warning
MAX_PREFIX_SHARE = 0.01  # more broken prefixes than this are the template's doing, not a row's


@dataclass(frozen=True)
class Finding:
    """One thing to know about the tokens. code: short and stable; message: with the remedy."""

    severity: Literal["error", "warn"]
    code: str
    message: str


def lint(tokens: Tokens, tokenizer: PreTrainedTokenizerBase, report: TokenReport) -> list[Finding]:
    """Errors first."""
    findings = [
        *_one_bos(tokens, tokenizer, report),
        *_one_end(tokens, report),
        *_prefixes(report),
        *_lost(tokens, report),
        *_alike(tokens),
        *_template(tokenizer, report),
    ]
    return sorted(findings, key=lambda finding: finding.severity)


_OF_ROWS = {
    "columns-unread": "columns that no prompt or answer is made from; if a model should see them, "
    "write them into the prompt, or name what they are in data.columns",
    "scores-against-labels": "scores that prefer the rejected answer; if the labels are the wrong "
    "way round, give data.columns={chosen: rejected, rejected: chosen}",
}


def of_rows(examples: Sequence[Example]) -> list[Finding]:
    """What the reader noted of the rows, a finding for each kind."""
    places: dict[str, dict[str, list[str]]] = {}
    for example in examples:
        for code, column in example.notes:
            places.setdefault(code, {}).setdefault(column, []).append(example.where)
    found = []
    for code, columns in sorted(places.items()):
        named = ", ".join(f"{name!r} ({len(rows)} rows)" for name, rows in columns.items())
        first = next(iter(columns.values()))[0]
        found.append(Finding("warn", code, f"{named}, first: {first}: {_OF_ROWS[code]}"))
    return found


def refuse(findings: Sequence[Finding]) -> None:
    """One UserError with every error found; warnings pass."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        lines = "\n".join(f"  {finding.code}: {finding.message}" for finding in errors)
        raise UserError(f"the token ids are not fit for training:\n{lines}")


def _one_bos(
    tokens: Tokens, tokenizer: PreTrainedTokenizerBase, report: TokenReport
) -> Iterator[Finding]:
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    missing = _places(tokens, [ids[:1] != [bos] for ids in tokens.prompts])
    if missing and (bos_id(tokenizer) is not None or len(missing) < len(tokens)):
        text = f"{len(missing)} prompts do not start with BOS ({_first(missing)}); repair the rows"
        yield Finding("error", "bos-missing", text)
    # ChatML names its role marker BOS: then it opens each turn, and only a run of two is wrong.
    marks_turns = report.num_conversations > 0 and _writes_bos_each_turn(tokenizer, bos)
    second = [
        (bos, bos) in pairwise(ids) if marks_turns else bos in ids[1:] for ids in tokens.prompts
    ]
    if doubled := _places(tokens, second):
        text = (
            f"{len(doubled)} prompts hold a second BOS ({_first(doubled)}); take it out of the "
            "chat template (model.chat_template) or out of the rows' text"
        )
        yield Finding("error", "bos-doubled", text)
    if inside := _places(tokens, [any(bos in ids for ids in row) for row in tokens.responses]):
        text = f"{len(inside)} rows have BOS in a response ({_first(inside)}); repair the rows"
        yield Finding("error", "bos-in-response", text)


def _one_end(tokens: Tokens, report: TokenReport) -> Iterator[Finding]:
    """Each response ends in an end token, or was cut to the limit."""
    full = report.limits.max_length
    ends = set(report.end_ids)
    bad = [
        any(not ids or (ids[-1] not in ends and len(prompt) + len(ids) < full) for ids in responses)
        for prompt, responses in zip(tokens.prompts, tokens.responses, strict=True)
    ]
    if endless := _places(tokens, bad):
        text = (
            f"{len(endless)} rows have an untruncated response without its end token "
            f"({_first(endless)}); tokenise again"
        )
        yield Finding("error", "end-missing", text)


def _prefixes(report: TokenReport) -> Iterator[Finding]:
    places = report.dropped.places.get("prompt-not-a-prefix", ())
    if not places:
        return
    text = (
        f"{len(places)} of {report.dropped.total} rows were dropped: their prompt's tokens change "
        f"when the answer follows ({_first(places)})"
    )
    if len(places) / report.dropped.total <= MAX_PREFIX_SHARE:
        remedy = "; white space at the start of the answer is the usual cause"
        yield Finding("warn", "prompt-not-a-prefix", text + remedy)
    else:
        text += "; the chat template writes the prompt in two ways: set another model.chat_template"
        yield Finding("error", "prompt-not-a-prefix", text)


def _lost(tokens: Tokens, report: TokenReport) -> Iterator[Finding]:
    ends = set(report.end_ids)
    for i, side in enumerate(report.sides):
        lost = sum(row[i][-1:] == [] or row[i][-1] not in ends for row in tokens.responses)
        cut = report.truncated[side]
        if cut or lost:
            share = max(cut, lost) / len(tokens)
            text = (
                f"{side}: {cut} of {len(tokens)} cut to {report.limits.max_length} tokens, "
                f"{lost} lost their end token ({share:.1%}); raise max_length"
            )
            severity = "error" if share > MAX_TRUNCATED_SHARE else "warn"
            yield Finding(severity, "truncated", text)
        if report.emptied[side]:
            text = (
                f"{side}: {report.emptied[side]} rows dropped because the chat template leaves "
                "nothing of the answer; look at what it strips"
            )
            yield Finding("warn", "emptied", text)


def _alike(tokens: Tokens) -> Iterator[Finding]:
    same = [len(row) > 1 and row[0] == row[-1] for row in tokens.responses]
    if alike := _places(tokens, same):
        text = (
            f"{len(alike)} pairs have the same tokens on both sides ({_first(alike)}) and teach "
            "nothing; raise max_length if they differ after the cut"
        )
        yield Finding("warn", "sides-alike", text)


def _template(tokenizer: PreTrainedTokenizerBase, report: TokenReport) -> Iterator[Finding]:
    if report.template != template_hash(tokenizer):
        text = "the rows were tokenised with another chat template; tokenise again with this one"
        yield Finding("error", "template-changed", text)
    plain = report.dropped.total - report.num_conversations
    if plain and (report.num_conversations or tokenizer.chat_template is not None):
        text = f"{plain} of {report.dropped.total} prompts are plain text and get no chat template"
        remedy = "; give messages if the model is to be used as a chat model"
        yield Finding("warn", "plain-prompts", text + remedy)


def _writes_bos_each_turn(tokenizer: PreTrainedTokenizerBase, bos: int) -> bool:
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
    return encode_prompts([turns], tokenizer)[0].count(bos) >= len(turns)


def _places(tokens: Tokens, hits: Sequence[bool]) -> list[str]:
    return [id for id, hit in zip(tokens.ids, hits, strict=True) if hit]


def _first(places: Sequence[str]) -> str:
    return f"first: {', '.join(places[:3])}"
