"""tokens: one side of the data read, checked and tokenised, once per (rows, tokenizer, limits)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import RunConfig
from tiebreak.data.sources.source import DEMONSTRATIONS, TRAIN, Sampler
from tiebreak.stages.checkpoint import Checkpoint
from tiebreak.stages.stage import Context, Paths, Stage

if TYPE_CHECKING:
    from tiebreak.data.examples import Dropped, Example
    from tiebreak.data.lint import Finding
    from tiebreak.data.tokens import TokenReport, Tokens

REPORT, PROMPTS = "report.json", "prompts.json"
SAMPLES_AT_ONCE = 64


def tokens_stage(run: RunConfig, start: Checkpoint, side: str) -> Stage:
    """Token ids of a side, report.json and, of a held-out side, its different prompts.

    start: brings the tokenizer and, for a source whose rows a model writes, that model.
    """
    written = run.data.samples and side != DEMONSTRATIONS
    settings = {
        "data": run.data.content(side),
        "tokenizer": dict(start.tokenizer_settings),
        **(start.settings if written else {}),
    }

    def build(context: Context, work: Path, paths: Paths) -> None:
        sample = sampler(start, paths) if written else None
        _build(context.run, work, side, context.run.data.rows(side, sample), start.tokenizer())

    what = side if side == DEMONSTRATIONS else f"{side} rows"
    return Stage("tokens", settings, build, start.parents if written else {}, what=what)


def _build(run: RunConfig, work: Path, side: str, examples: list[Example], tokenizer: Any) -> None:
    encoded = encode(run, examples, tokenizer)
    refuse_unfit(run, encoded)
    encoded.tokens.save(work)
    report = {
        "rows": len(encoded.tokens), "dropped": encoded.dropped.counts,
        "truncated": encoded.report.truncated, "content": encoded.tokens.content_hash(),
        "findings": [asdict(finding) for finding in encoded.findings],
        "end_ids": list(encoded.report.end_ids),
    }  # fmt: skip
    (work / REPORT).write_text(json.dumps(report, indent=1, sort_keys=True))
    if side in (TRAIN, DEMONSTRATIONS):
        return
    kept = set(encoded.tokens.ids)
    unique = {json.dumps(e.prompt): e for e in reversed(examples) if e.id in kept}
    rows = [{"id": e.id, "prompt": e.prompt} for e in reversed(unique.values())]
    (work / PROMPTS).write_text(json.dumps(rows))


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


def encode(run: RunConfig, examples: list[Example], tokenizer: Any) -> Encoded:
    """Drop, tokenise and lint rows; refuses nothing, so that they can be shown first."""
    from tiebreak.data.examples import drop_untrainable
    from tiebreak.data.lint import lint, of_rows
    from tiebreak.data.tokens import Limits, tokenise

    kept, dropped = drop_untrainable(examples)
    limits = Limits(run.data.max_length, run.data.max_prompt_length)
    tokens, report = tokenise(kept, tokenizer, limits)
    findings = [*lint(tokens, tokenizer, report), *of_rows(examples)]
    return Encoded(tokens, report, dropped.then(report.dropped), findings)


def refuse_unfit(run: RunConfig, encoded: Encoded) -> None:
    """Raise UserError for too many dropped rows, or for an error that the lint found."""
    from tiebreak.data.examples import refuse_if_many
    from tiebreak.data.lint import refuse

    refuse_if_many(encoded.dropped, run.data.max_dropped_share)
    refuse(encoded.findings)


def sampler(start: Checkpoint, paths: Paths) -> Sampler:
    """The start model as a writer of responses; paths: folders of a stage's parents."""

    def sample(
        prompts: Sequence[Any], *, max_new_tokens: int, temperature: float, seed: int
    ) -> list[str]:
        from tiebreak.data.examples import Example
        from tiebreak.data.tokens import Limits, encode_prompts, tokenise
        from tiebreak.engine.models import generate, load_start

        tokenizer = start.tokenizer()
        probe = Example("probe", prompts[0], ("yes",))  # how the template ends a response
        _, report = tokenise([probe], tokenizer, Limits(tokenizer.model_max_length))
        model = load_start(start.place(paths), start.commit)
        responses = generate(
            model, encode_prompts(list(prompts), tokenizer), seed=seed,
            pad_id=tokenizer.pad_token_id, end_ids=report.end_ids, max_new_tokens=max_new_tokens,
            temperature=temperature, batch_size=SAMPLES_AT_ONCE,
        )  # fmt: skip
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in responses]

    return sample
