"""tokens: read, check and tokenise the data once per (data, tokenizer, limits)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.identity import data_content
from tiebreak.config.schema import FileData, Run, Split, WorldData
from tiebreak.stages.stage import Paths, Stage, recipe
from tiebreak.stages.start import Checkpoint, tokenizer_inputs

if TYPE_CHECKING:
    from tiebreak.data.check import Dropped
    from tiebreak.data.examples import Example
    from tiebreak.data.lint import Finding
    from tiebreak.data.tokenise import TokenReport
    from tiebreak.data.tokens import Tokens

# What the align stage trains on, what evaluation uses, and what SFT imitates. Which split is
# evaluated is not among it: the tokens hold both, so that a search's policy is tested as it is.
PREFERENCES = frozenset(
    "seed num_pairs num_test_pairs label_noise length_bias edit_distance temperature train "
    "train_split test test_split test_share validation_share revision max_rows max_test_rows "
    "as_conversation".split()
)
HELD_OUT = frozenset(
    "seed num_test_pairs edit_distance train train_split test test_split test_share "
    "validation_share revision max_test_rows as_conversation".split()
)
TRAINING = frozenset({"train", "train_split"})
DEMONSTRATIONS = frozenset(
    "seed num_demonstrations demonstrations demonstrations_split revision as_conversation".split()
)
LIMITS = frozenset("kind world_version max_length max_prompt_length".split())
PROMPTS = "prompts.json"


def preferences(run: Run, start: Checkpoint) -> Stage:
    """train/, test/, validation/ (where there is one) and report.json: the data as token ids."""
    content = _only(data_content(run), PREFERENCES | LIMITS)
    inputs = {"data": content, "tokenizer": tokenizer_inputs(run), "rows": "all splits"}

    def build(work: Path, paths: Paths) -> None:
        _build_preferences(work, run, start.tokenizer(paths))

    return recipe("tokens", inputs, build=build, what="preferences")


def held_out_content(run: Run) -> dict[str, Any]:
    """What determines the rows of this evaluation's split; how many or how noisy the training rows
    are does not."""
    content = _only(data_content(run), HELD_OUT | LIMITS)
    apart = bool(content.get("test"))  # a file of its own: no test rows are split off the training
    if run.evaluation.split is Split.VALIDATION:
        unused = {"test", "test_split"} | ({"test_share"} if apart else set())
    else:
        unused = {"validation_share"} | (TRAINING | {"test_share"} if apart else set())
    return {k: v for k, v in content.items() if k not in unused}


def demonstrations(run: Run, start: Checkpoint) -> Stage:
    """train/ and report.json: the demonstrations as token ids."""
    content = _only(data_content(run), DEMONSTRATIONS | LIMITS)
    inputs = {"data": content, "tokenizer": tokenizer_inputs(run), "rows": "demonstrations"}

    def build(work: Path, paths: Paths) -> None:
        examples = read_demonstrations(run)
        _encode(work, "train", examples, run, start.tokenizer(paths), {})

    return recipe("tokens", inputs, build=build, what="demonstrations")


def read_demonstrations(run: Run) -> list[Example]:
    if isinstance(run.data, WorldData):
        from tiebreak.data import world

        return world.demonstrations(run.data.num_demonstrations, run.data.seed, "sft")
    from tiebreak.data.read import read_demonstrations

    data = run.data
    assert data.demonstrations is not None
    found = read_demonstrations(data.demonstrations, data.demonstrations_split, data.revision)
    return [_as_turn(e) for e in found] if data.as_conversation else found


def read_sides(run: Run) -> dict[str, list[Example]]:
    """The rows of "train", "test" and, where there is one, "validation"; no prompt on two sides."""
    if isinstance(run.data, WorldData):
        return _world(run.data)
    return _files(run.data)


def _world(data: WorldData) -> dict[str, list[Example]]:
    from tiebreak.data import world

    knobs = world.Knobs(
        num_pairs=data.num_pairs,
        label_noise=data.label_noise,
        length_bias=data.length_bias,
        edit_distance=data.edit_distance,
        temperature=data.temperature,
    )
    few = replace(knobs, num_pairs=data.num_test_pairs)
    return {
        "train": world.preference_pairs(knobs, data.seed, "train"),
        "test": world.preference_pairs(few, data.seed, "test"),
        "validation": world.preference_pairs(few, data.seed, "validation"),
    }


def _files(data: FileData) -> dict[str, list[Example]]:
    from tiebreak.data.check import refuse_shared_prompts, split_by_prompt
    from tiebreak.data.read import read_preferences

    train = read_preferences(data.train, data.train_split, data.revision)
    if data.test is None:
        train, test = split_by_prompt(train, data.test_share, seed=0)
    else:
        test = read_preferences(data.test, data.test_split, data.revision)
        refuse_shared_prompts(train, test)
    held_out = {"test": test}
    if data.validation_share > 0:
        train, held_out["validation"] = split_by_prompt(
            train, data.validation_share, seed=1, key="data.validation_share"
        )
    sides = {"train": train[: data.max_rows]}
    sides |= {side: examples[: data.max_test_rows] for side, examples in held_out.items()}
    if data.as_conversation:
        return {side: [_as_turn(e) for e in examples] for side, examples in sides.items()}
    return sides


def _as_turn(example: Example) -> Example:
    """A plain prompt as the only user turn of a conversation."""
    if not isinstance(example.prompt, str):
        return example
    return replace(example, prompt=[{"role": "user", "content": example.prompt}])


def _build_preferences(work: Path, run: Run, tokenizer: Any) -> None:
    report: dict[str, Any] = {}
    for side, examples in read_sides(run).items():
        kept = set(_encode(work, side, examples, run, tokenizer, report).ids)
        if side == "train":
            continue
        unique = {json.dumps(e.prompt): e for e in reversed(examples) if e.id in kept}
        rows = [{"id": e.id, "prompt": e.prompt} for e in reversed(unique.values())]
        (work / side / PROMPTS).write_text(json.dumps(rows))


def _encode(
    work: Path, side: str, examples: list[Example], run: Run, tokenizer: Any, report: dict
) -> Tokens:
    found = encode(run, examples, tokenizer)
    refuse_unfit(run, found)
    found.tokens.save(work / side)
    report[side] = {
        "rows": len(found.tokens),
        "dropped": found.dropped.counts,
        "truncated": found.report.truncated,
        "findings": [asdict(f) for f in found.findings],
        "content": found.tokens.content_hash(),
        "end_ids": list(found.report.end_ids),
    }
    (work / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True))
    return found.tokens


@dataclass(frozen=True)
class Encoded:
    """Rows as token ids, with all that was left out and all that looks wrong."""

    tokens: Tokens
    report: TokenReport
    dropped: Dropped
    findings: list[Finding]


def encode(run: Run, examples: list[Example], tokenizer: Any) -> Encoded:
    """Drop, tokenise and lint; refuses nothing yet, so that it can be shown first."""
    from tiebreak.data.check import drop_untrainable
    from tiebreak.data.lint import lint
    from tiebreak.data.tokenise import Limits, tokenise

    kept, dropped = drop_untrainable(examples)
    limits = Limits(run.data.max_length, run.data.max_prompt_length)
    tokens, report = tokenise(kept, tokenizer, limits)
    return Encoded(tokens, report, dropped.then(report.dropped), lint(tokens, tokenizer, report))


def refuse_unfit(run: Run, found: Encoded) -> None:
    """UserError for too many dropped rows, or for an error of the lint."""
    from tiebreak.data.check import refuse_if_many
    from tiebreak.data.lint import refuse

    refuse_if_many(found.dropped, run.data.max_dropped_share)
    refuse(found.findings)


def _only(content: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in content.items() if k in keys}
