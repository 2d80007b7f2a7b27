"""What a composed run must satisfy beyond its types: values in range, parts that fit together."""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

from tiebreak.config.schema import Adapter, GeneratorConfig, RunConfig, Split, Start
from tiebreak.config.typed import search_space
from tiebreak.errors import UserError, nearest


def check(run: RunConfig) -> None:
    """Raise UserError at the first thing that cannot work together."""
    _held_out(run)
    _generator(run.evaluation.generator)
    _start(run)
    if run.trains:
        _method(run)


def check_group(key: str, part: Any, name: str) -> None:
    """The same for one group by itself; name: what it calls itself."""
    if key == "method":
        _hyperparameters(part, name)
    _ranges(key, part)
    if key == "data":
        part.check()


_BOUNDS: dict[str, tuple[str, Callable[[Any, float], bool]]] = {
    "above": ("above", operator.gt),
    "below": ("below", operator.lt),
    "at_least": ("at least", operator.ge),
    "at_most": ("at most", operator.le),
}


def _hyperparameters(method: Any, name: str) -> None:
    for field in dataclasses.fields(method):
        value, meta = getattr(method, field.name), field.metadata
        key = f"method.{field.name}={value!r}"
        for check, limit in meta["check"].items():
            words, fits = _BOUNDS[check]
            if not fits(value, limit):
                tried = search_space(name).get(field.name, field.default)
                raise UserError(f"{key} must be {words} {limit:g}; usual values: {tried}")
        options = meta["options"]
        if options and value not in options:
            hint = nearest(str(value), options)
            raise UserError(f"{key} is not one of {', '.join(options)}{hint}")


def _ranges(group: str, part: Any) -> None:
    for key, names, rule, fits in _rules_of(group):
        # None where this group has no such key.
        value = reduce(lambda v, name: getattr(v, name, None), names, part)
        if value is not None and not fits(value):
            raise UserError(f"{key}={value!r} {rule}")
    made = getattr(part, "pretraining", None)
    if made is not None and made.hidden_size % (2 * made.heads):
        raise UserError(
            f"model.pretraining.hidden_size={made.hidden_size} must be a multiple of twice "
            f"model.pretraining.heads={made.heads}"
        )


_ABOVE_0 = """
train.learning_rate train.batch_size train.epochs train.max_steps train.max_grad_norm
train.lora.rank train.lora.alpha
train.sft.learning_rate train.sft.batch_size train.sft.epochs train.sft.examples
train.execution.positions_per_cut train.execution.head_chunk train.execution.checkpoint_every
train.execution.num_threads train.execution.num_processes
model.pretraining.learning_rate model.pretraining.batch_size model.pretraining.epochs
model.pretraining.documents model.pretraining.hidden_size model.pretraining.layers
model.pretraining.heads model.pretraining.intermediate_size
model.instruct_tuning.learning_rate model.instruct_tuning.batch_size model.instruct_tuning.epochs
model.instruct_tuning.examples
data.num_test_pairs data.num_demonstrations data.max_rows data.max_test_rows
evaluation.num_prompts evaluation.max_new_tokens evaluation.batch_size evaluation.questions
evaluation.judge.max_tokens evaluation.judge.batch_size evaluation.judge.concurrency
evaluation.judge.timeout evaluation.judge.max_cost evaluation.judge.max_total_tokens
evaluation.generator.timeout
evaluation.judge.sessions
"""
_FROM_0 = """
train.weight_decay train.execution.cut_overhead evaluation.temperature evaluation.seed
data.seed model.pretraining.seed
evaluation.judge.temperature evaluation.judge.repeats evaluation.judge.retries
evaluation.judge.price_sent evaluation.judge.price_written
"""
_SHARES = """
data.max_dropped_share data.max_shared_prompts data.test_share evaluation.max_shared_prompts
"""
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "must be above 0": (lambda v: v > 0, _ABOVE_0),
    "must be 0 or above": (lambda v: v >= 0, _FROM_0),
    "is a share; give a number from 0 to 1": (lambda v: 0 <= v <= 1, _SHARES),
    "is a share of the training prompts; give 0 or more, below 1":
        (lambda v: 0 <= v < 1, "data.validation_share"),
    "is a share of the steps; give 0 or more, below 1":
        (lambda v: 0 <= v < 1, "train.warmup_share"),
}  # fmt: skip


@functools.cache
def _rules_of(group: str) -> list[tuple[str, list[str], str, Callable[[Any], bool]]]:
    """(key, its parts below the group, rule in words, whether a value keeps it)."""
    rules = [(key, rule, fits) for rule, (fits, keys) in _RULES.items() for key in keys.split()]
    return [(key, key.split(".")[1:], rule, fits) for key, rule, fits in rules
            if key.split(".")[0] == group]  # fmt: skip


def _start(run: RunConfig) -> None:
    """The scenario's start model must exist, or be something this run can make."""
    model, scenario = run.model, run.scenario
    source = model.source(scenario.start)
    if scenario.start is Start.SFT and source is None:
        source = model.base
        if source is not None and not run.data.can_demonstrate:
            raise UserError(
                "scenario=sft-then-align trains on demonstrations and data.demonstrations is null; "
                "give data.demonstrations=FILE (messages per line), or choose another scenario"
            )
    if source is None:
        have = [str(s) for s in Start if s is not Start.GIVEN and model.source(s) is not None]
        fits = {"base": "align-from-base", "sft": "sft-then-align", "instruct":
                "align-from-instruct"}  # fmt: skip
        other = f"use scenario={fits[have[0]]} or " if have else ""
        raise UserError(
            f"scenario={scenario.name} starts from model.{scenario.start}, which "
            f"model={model.name} does not have; {other}give model.{scenario.start}=FOLDER"
        )
    tuned = model.instruct_tuning if scenario.start is Start.INSTRUCT else model.pretraining
    if source != "here":
        return
    if not run.trains:
        raise UserError(
            f"model={model.name} is made here, and scenario={scenario.name} measures a checkpoint "
            "as it is given; give a folder or a Hub id ORG/NAME"
        )
    for key in ("revision", "chat_template", "chat_template_kwargs", "base_chat_template"):
        if getattr(model, key):
            raise UserError(
                f"model.{key} has no effect on a model made here; leave it null, or give "
                f"model.{scenario.start}=FOLDER"
            )
    if model.pretraining is None or tuned is None or getattr(tuned, "examples", 1) is None:
        recipe = "pretraining" if model.pretraining is None else "instruct_tuning"
        raise UserError(
            f"model.{scenario.start}=here is made by model.{recipe}, which is null or incomplete; "
            f"use model=tiny, or give model.{scenario.start}=FOLDER"
        )


def _held_out(run: RunConfig) -> None:
    """Each split must have rows, and as many prompts as are asked for."""
    data, evaluation = run.data, run.evaluation
    if not data.has_rows:
        if run.trains:
            raise UserError(
                f"data={data.name} has no rows, and scenario={run.scenario.name} trains on them; "
                "give data=FILE, or another of tiebreak's data"
            )
        return
    if str(evaluation.split) not in data.sides():
        raise UserError(
            "evaluation.split=validation, and data.validation_share=0.0 keeps no rows for it; "
            "give data.validation_share=0.1, or use evaluation.split=test"
        )
    if data.most_prompts is None:
        return
    # The prompts for validation follow as many for testing.
    most = data.most_prompts // (2 if evaluation.split is Split.VALIDATION else 1)
    if evaluation.num_prompts > most:
        raise UserError(
            f"evaluation.num_prompts={evaluation.num_prompts}: data={data.name} has no more than "
            f"{most} prompts for evaluation.split={evaluation.split}; ask for fewer"
        )


def _generator(generator: GeneratorConfig) -> None:
    """A program must be told where the model, its input and its output are, and have a version."""
    if not generator.command:
        return
    key, needed = "evaluation.generator", ("{model}", "{requests}", "{answers}")
    known = (*needed, "{adapter}", "{precision}", "{scripts}")
    places = [place for word in generator.command for place in re.findall(r"\{[^{}]*\}", word)]
    for place in places:
        if place not in known:
            raise UserError(
                f"{key}.command: unknown place {place}{nearest(place, known)}; there are "
                f"{', '.join(known)}"
            )
    missing = [place for place in needed if place not in places]
    if missing:
        raise UserError(
            f"{key}.command has no word with {missing[0]}; add one (docs/generation.md)"
        )
    if not generator.version:
        raise UserError(
            f"{key}.command needs {key}.version, which names what is measured; give what the "
            "command prints with --version"
        )


def _method(run: RunConfig) -> None:
    """What the method asks for must be there."""
    if run.method.needs.moving_reference and run.train.adapter is Adapter.LORA:
        raise UserError(
            f"method={run.method_name} moves its reference towards the policy, and an adapter is "
            "no copy that could follow; use train.adapter=none, or another method"
        )
    # How many responses the rows of a file hold is seen when they are read.
    k = run.method.needs.ranked
    if run.data.pairs_only and k > 2:
        raise UserError(
            f"method.k={k}, and data={run.data.name} holds pairs; give method.k=2, or a file of "
            "ranked lists (docs/data.md)"
        )
