"""tokens: one side of the data read, checked and tokenised, once per (rows, tokenizer, limits)."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import RunConfig
from tiebreak.data.pair_sets import KEY, PairSet
from tiebreak.data.sources.source import DEMONSTRATIONS, TRAIN, Sampler
from tiebreak.data.template import DATE, read_template
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.model_folder import tokenizer_place
from tiebreak.stages.checkpoint import Checkpoint
from tiebreak.stages.stage import Context, Paths, Stage
from tiebreak.store import stamps

if TYPE_CHECKING:
    from tiebreak.data.examples import Dropped, Example
    from tiebreak.data.lint import Finding
    from tiebreak.data.tokens import TokenReport, Tokens

REPORT, PROMPTS, CATEGORIES = "report.json", "prompts.json", "categories.json"
SAMPLES_AT_ONCE = 64
WORDS = "tokenizer.json"  # holds the vocabulary: no text of a template
FILES = re.compile(r".*\.jinja|(tokenizer|tokenizer_config|chat_template)\.json")
PREFIXED = re.compile(r'"single"\s*:\s*\[(\s*\{\s*"SpecialToken"\s*:\s*\{[^{}]*\}\s*\}\s*,){2}')
SPACED = re.compile(r'"type"\s*:\s*"(Metaspace|Prepend)"|"add_prefix_space"\s*:\s*true')


def tokens_stage(run: RunConfig, start: Checkpoint, side: str) -> Stage:
    """Token ids of a side, report.json and, of a held-out side, its different prompts.

    start: brings the tokenizer and, for a source whose rows a model writes, that model.
    """
    written = run.data.samples and side != DEMONSTRATIONS
    settings = {
        "data": run.data.content(side),
        "tokenizer": dict(start.tokenizer_settings) | _text_settings(run, start),
        **({**start.settings, "sampling": "item"} if written else {}),
    }

    def build(context: Context, work: Path, paths: Paths) -> None:
        kwargs = context.run.model.chat_template_kwargs
        sample = sampler(start, paths, kwargs) if written else None
        _build(context.run, work, side, context.run.data.rows(side, sample), start.tokenizer())

    what = side if side == DEMONSTRATIONS else f"{side} rows"
    return Stage("tokens", settings, build, start.parents if written else {}, what=what)


def pair_rows_stage(run: RunConfig, start: Checkpoint, pair_set: PairSet) -> Stage:
    """Token ids of a pair set as held-out rows have them, with the category of each row."""
    tokenizer = dict(start.tokenizer_settings) | _text_settings(run, start)
    settings = {"data": pair_set.content(run.data), "tokenizer": tokenizer}

    def build(context: Context, work: Path, paths: Paths) -> None:
        _build_pairs(context.run, work, pair_set, start.tokenizer())

    return Stage("tokens", settings, build, what=pairs_of(pair_set.name))


def pairs_of(name: str) -> str:
    """What the rows of a pair set are called beside the sides of the data."""
    return f"{name} pairs"


def _build_pairs(run: RunConfig, work: Path, pair_set: PairSet, tokenizer: Any) -> None:
    """Rows that cannot be used are left out and counted in the report."""
    from tiebreak.data.lint import refuse

    examples = pair_set.rows(run.data)
    encoded = encode(run, examples, tokenizer)
    if not len(encoded.tokens):
        reasons = ", ".join(f"{n} {reason}" for reason, n in encoded.dropped.counts.items())
        raise UserError(f"{KEY}: {pair_set.name} has no pair to score ({reasons})")
    try:
        refuse(encoded.findings)
    except UserError as error:
        raise UserError(f"{KEY}: {pair_set.name}: {error}") from error
    _save(work, encoded)
    _save_prompts(run, work, encoded, examples)
    category = {example.id: example.category for example in examples}
    (work / CATEGORIES).write_text(json.dumps([category[id] for id in encoded.tokens.ids]))


def read_categories(folder: Path) -> list[str | None]:
    """Of each row of a pair set."""
    return json.loads((folder / CATEGORIES).read_text())


def _text_settings(run: RunConfig, start: Checkpoint) -> dict[str, Any]:
    """What token ids depend on beside the rows and the tokenizer's files: arguments of the chat
    template; the date, where a template asks for it; the rule for plain rows, where 0.1.0 had
    another. The files of a Hub id are not here to be read: its commit stands for them."""
    kwargs = run.model.chat_template_kwargs
    place = start.source and tokenizer_place(checkpoint_folder(start.source) or start.source)
    folder = checkpoint_folder(str(place)) if place else None
    all_files = [*folder.iterdir(), *folder.glob("*/*.jinja")] if folder else []
    files = [file for file in all_files if FILES.fullmatch(file.name) and file.is_file()]
    dated, anew = _look_into(stamps(files), tuple(sorted(files)))
    if start.chat_template:
        dated = "strftime_now" in read_template(start.chat_template)
    settings: dict[str, Any] = {"chat_template_kwargs": dict(kwargs)} if kwargs else {}
    settings |= {"date": f"{DATE:%Y-%m-%d}"} if dated else {}
    return settings | ({"plain_rows": 2} if anew and run.data.may_be_plain else {})


@functools.lru_cache
def _look_into(stamp: Hashable, files: tuple[Path, ...]) -> tuple[bool, bool]:
    """(whether a chat template asks for the date, whether the tokenizer puts a space or several
    tokens before a text): of 0.1.0's plain rows, answers had that space and prompts no such tokens.
    """
    texts = {file.name: file.read_text("utf-8", "replace") for file in files}
    dated = any("strftime_now" in text for name, text in texts.items() if name != WORDS)
    text = texts.get(WORDS, "")
    head, _, rest = text.partition('"post_processor"')
    spaced = SPACED.search(head.partition('"normalizer"')[2])
    return dated, bool(spaced or PREFIXED.search(rest))


def _build(run: RunConfig, work: Path, side: str, examples: list[Example], tokenizer: Any) -> None:
    held_out = side not in (TRAIN, DEMONSTRATIONS)
    train = run.data.rows(TRAIN) if held_out and run.data.compares_sides else []
    encoded = encode(run, examples, tokenizer, train)
    refuse_unfit(run, encoded)
    _save(work, encoded)
    if held_out:
        _save_prompts(run, work, encoded, examples)


def _save(work: Path, encoded: Encoded) -> None:
    encoded.tokens.save(work)
    report = {
        "rows": len(encoded.tokens), "dropped": encoded.dropped.counts,
        "truncated": encoded.report.truncated, "content": encoded.tokens.content_hash(),
        "findings": [asdict(finding) for finding in encoded.findings],
        "end_ids": list(encoded.report.end_ids),
    } | ({"date": f"{DATE:%Y-%m-%d}"} if encoded.report.use.dated else {})  # fmt: skip
    (work / REPORT).write_text(json.dumps(report, indent=1, sort_keys=True))


def _save_prompts(run: RunConfig, work: Path, encoded: Encoded, examples: list[Example]) -> None:
    """The different prompts of the rows that are kept."""
    kept = set(encoded.tokens.ids)
    examples = [example for example in _with_kwargs(run, examples) if example.id in kept]
    unique = {json.dumps([e.prompt, e.template]): e for e in reversed(examples)}
    rows = [
        {"id": e.id, "prompt": e.prompt} | ({"template": e.template} if e.template else {})
        for e in reversed(unique.values())
    ]
    (work / PROMPTS).write_text(json.dumps(rows))


def _with_kwargs(run: RunConfig, examples: list[Example]) -> list[Example]:
    """The study's arguments of the chat template in each row; a row's own go before them."""
    if not (kwargs := run.model.chat_template_kwargs):
        return examples
    return [replace(e, template_kwargs={**kwargs, **(e.template_kwargs or {})}) for e in examples]


def read_report(folder: Path) -> dict[str, Any]:
    """report.json of a tokens artefact: rows, dropped by reason, findings, end-of-text ids."""
    return json.loads((folder / REPORT).read_text())


@dataclass(frozen=True)
class Encoded:
    """Rows as token ids, with all that was left out and all that looks wrong."""

    tokens: Tokens
    report: TokenReport
    dropped: Dropped
    findings: list[Finding]


def encode(
    run: RunConfig, examples: list[Example], tokenizer: Any, train: Sequence[Example] = ()
) -> Encoded:
    """Drop, tokenise and lint rows; refuses none of them, so that they can be shown first. train:
    the training rows, where these are held out."""
    from tiebreak.data.examples import drop_untrainable
    from tiebreak.data.lint import Finding, lint, of_rows
    from tiebreak.data.tokens import Limits, tokenise

    kept, dropped = drop_untrainable(_with_kwargs(run, examples))
    limits = Limits(run.data.max_length, run.data.max_prompt_length)
    tokens, report = tokenise(kept, tokenizer, limits, run.data.joined)
    train = [example for example in train if example.unfit is None]
    findings = [*lint(tokens, tokenizer, report, kept, train), *of_rows(examples)]
    of_base = None if run.model.chat_template else run.model.base_chat_template
    if of_base and report.num_conversations and tokenizer.chat_template == read_template(of_base):
        text = (
            f"the base model has no chat template: {report.num_conversations} conversations are "
            f"written by model.base_chat_template={of_base}; another is model.chat_template=NAME"
        )
        findings.append(Finding("warn", "template-of-base", text))
    return Encoded(tokens, report, dropped.then(report.dropped), findings)


def refuse_unfit(run: RunConfig, encoded: Encoded) -> None:
    """Raise UserError for too many dropped rows, or for an error that the lint found."""
    from tiebreak.data.examples import refuse_if_many
    from tiebreak.data.lint import refuse

    refuse_if_many(encoded.dropped, run.data.max_dropped_share)
    refuse(encoded.findings)


def sampler(start: Checkpoint, paths: Paths, kwargs: Mapping[str, Any]) -> Sampler:
    """The start model as a writer of responses; paths: folders of a stage's parents; kwargs: the
    study's arguments of the chat template."""

    def sample(
        prompts: Sequence[Any], *, max_new_tokens: int, temperature: float, seed: int
    ) -> list[str]:
        from tiebreak.data.examples import Example
        from tiebreak.data.tokens import Limits, encode_prompts, tokenise
        from tiebreak.engine.generation import generate
        from tiebreak.engine.models import load_start

        tokenizer = start.tokenizer()
        own = dict(kwargs)
        probe = Example("probe", prompts[0], ("yes",), template_kwargs=own)  # how a response ends
        _, report = tokenise([probe], tokenizer, Limits(tokenizer.model_max_length))
        model = load_start(start.place(paths), start.commit)
        responses = generate(
            model, encode_prompts(list(prompts), tokenizer, None, [own] * len(prompts)), seed=seed,
            pad_id=tokenizer.pad_token_id, end_ids=report.end_ids, max_new_tokens=max_new_tokens,
            temperature=temperature, batch_size=SAMPLES_AT_ONCE,
            items=[f"prompt {number}" for number in range(len(prompts))],
        )  # fmt: skip
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in responses]

    return sample
