"""What is suspicious in the rows and their token ids, found before a single step is trained. Errors
stop a run (`refuse`), warnings are shown. Each function looks for one thing and says it in one
line: how many rows, the first of them, what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from tiebreak.data.encode import bos_id, special_ids
from tiebreak.data.examples import Example, answer_of, near_key, text_of
from tiebreak.data.tokens import TokenReport, Tokens, encode_prompts, template_hash
from tiebreak.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TRUNCATED_SHARE = 0.5  # of one side; more is an error, less a warning
MAX_PREFIX_SHARE = 0.01  # more broken prefixes than this are the template's doing, not a row's
MIN_REPEATED = 20  # characters of a prompt that an answer repeats by more than chance
# Marks of the templates in use, whatever the tokenizer.
MARKS = re.compile(
    r"<\|\w+\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|^(?:Human|Assistant|USER|ASSISTANT):"
    r"|^### (?:Instruction|Response|Human|Assistant):",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Finding:
    """One thing to know about the tokens. code: short and stable; message: with the remedy."""

    severity: Literal["error", "warn"]
    code: str
    message: str


def lint(
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerBase,
    report: TokenReport,
    examples: Sequence[Example] = (),
    train: Sequence[Example] = (),
) -> list[Finding]:
    """Errors first. examples: the rows as text. train: those of the training side, where these are
    held out."""
    kept = set(tokens.ids)
    examples = [example for example in examples if example.id in kept]
    findings = [
        *_one_bos(tokens, tokenizer, report),
        *_one_end(tokens, report),
        *_prefixes(report),
        *_lost(tokens, report),
        *_alike(tokens),
        *_template(tokenizer, report),
        *_left_out(report),
        *_header(report),
        *_unread(report),
        *_merged(tokens, report),
        *_unknown(tokens, tokenizer),
        *_one_label(tokens),
        *_marked(examples, tokenizer),
        *_repeated(examples),
        *_near(examples, train),
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


def _left_out(report: TokenReport) -> Iterator[Finding]:
    if not report.lost:
        return
    counts = Counter(field for _, field, _ in report.lost)
    fields = ", ".join(f"{field} ({number})" for field, number in counts.items())
    rows = list(dict.fromkeys(id for id, _, _ in report.lost))
    text = (
        f"{len(rows)} rows hold text that the chat template does not write, in {fields} "
        f"({_first(rows)}; {' '.join(report.lost[0][2].split())[:40]!r})"
    )
    remedy = "; take it out of the rows, or set another model.chat_template"
    yield Finding("warn", "text-left-out", text + remedy)


def _header(report: TokenReport) -> Iterator[Finding]:
    if header := report.use.header:
        text = (
            f"the chat template writes {header!r} between prompt and answer: it is scored as part "
            f"of the answers of all {report.num_conversations} conversations; set a "
            "model.chat_template that writes it where add_generation_prompt is true"
        )
        yield Finding("warn", "header-scored", text)


def _unread(report: TokenReport) -> Iterator[Finding]:
    if names := ", ".join(report.use.unread):
        text = f"chat_template_kwargs has {names}, which the chat template does not read"
        yield Finding("warn", "kwargs-unread", text + "; correct the name, or take it out")


def _merged(tokens: Tokens, report: TokenReport) -> Iterator[Finding]:
    if merged := report.merged:
        text = (
            f"{len(merged)} of {len(tokens)} plain rows, written as one text, have a token across "
            f"the end of the prompt ({_first(merged)}); the prompt keeps its own tokens, as in "
            "generation: move white space from the end of prompts to the start of answers"
        )
        yield Finding("warn", "boundary-merged", text)


def _unknown(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:  # GPT-2 gives one token both names
        return
    rows = zip(tokens.prompts, tokens.responses, strict=True)
    hits = [any(unknown in ids for ids in (prompt, *responses)) for prompt, responses in rows]
    if places := _places(tokens, hits):
        text = f"{len(places)} rows hold text that has no token ({_first(places)}) and becomes "
        remedy = f"{tokenizer.unk_token!r}; take it out, or use a tokenizer that knows it"
        yield Finding("warn", "unknown-tokens", text + remedy)


def _one_label(tokens: Tokens) -> Iterator[Finding]:
    labels = set(tokens.labels) - {None}
    if len(labels) == 1:
        text = (
            f"all {len(tokens)} rows have the label {str(*labels).lower()} ({_first(tokens.ids)}): "
            "nothing here tells good from bad; give rows of both labels"
        )
        yield Finding("warn", "one-label", text)


def _marked(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    special = [str(tokenizer.decode([i])) for i in sorted(special_ids(tokenizer))]
    own = re.compile("|".join(re.escape(mark) for mark in special if mark) or "(?!)")
    hits: dict[str, str] = {}
    for example in examples:
        answers = [answer_of(response) for response in example.responses]
        if isinstance(example.prompt, str):  # made by hand, an answer may end in one
            hand = ((MARKS.search(a), len(a.rstrip())) for a in answers)
            marks = (mark for mark, end in hand if mark and mark.end() < end)
        else:
            turns = [*map(text_of, example.prompt), *answers]
            marks = (mark for t in turns if (mark := own.search(t) or MARKS.search(t)))
        if (found := next(marks, None)) is not None:
            hits[example.id] = found[0]
    if hits:
        text = (
            f"{len(hits)} rows hold marks of a chat template inside a turn, as "
            f"{next(iter(hits.values()))!r} ({_first(list(hits))}); rows made ready for another "
            "trainer are templated twice: give each turn as a message, without marks"
        )
        yield Finding("warn", "marks-inside", text)


def _repeated(examples: Sequence[Example]) -> Iterator[Finding]:
    hits = []
    for example in examples:
        asked = text_of(example.prompt if isinstance(example.prompt, str) else example.prompt[-1])
        asked, answers = asked.strip(), map(answer_of, example.responses)
        if len(asked) >= MIN_REPEATED and any(a.strip().startswith(asked) for a in answers):
            hits.append(example.id)
    if hits:
        text = f"{len(hits)} rows have an answer that begins with its prompt ({_first(hits)})"
        yield Finding("warn", "prompt-repeated", text + "; cut the prompt off the answer")


def _near(examples: Sequence[Example], train: Sequence[Example]) -> Iterator[Finding]:
    known = {near_key(example.prompt): example.id for example in reversed(train)}
    both = [(e.id, known[key]) for e in examples if (key := near_key(e.prompt)) in known]
    if both:
        text = (
            f"{len(both)} rows have a prompt that a training row has but for case, punctuation or "
            f"white space (first: {both[0][0]}, as training row {both[0][1]}); leave them out"
        )
        yield Finding("warn", "near-duplicates", text)


def _writes_bos_each_turn(tokenizer: PreTrainedTokenizerBase, bos: int) -> bool:
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
    return encode_prompts([turns], tokenizer)[0].count(bos) >= len(turns)


def _places(tokens: Tokens, hits: Sequence[bool]) -> list[str]:
    return [id for id, hit in zip(tokens.ids, hits, strict=True) if hit]


def _first(places: Sequence[str]) -> str:
    return f"first: {', '.join(places[:3])}"
