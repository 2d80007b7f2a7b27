"""What a composed run must satisfy beyond its types: values in range, parts that fit together."""

from __future__ import annotations

import dataclasses
from typing import Any

from tiebreak.config.schema import Adapter, FileData, Reference, Run, Start, WorldData
from tiebreak.errors import UserError, nearest


def check(run: Run) -> None:
    """Raise UserError at the first thing that cannot work."""
    _hyperparameters(run.method)
    _positive(run)
    _start(run)
    _reference(run)
    if isinstance(run.data, WorldData):
        _world(run)


def _hyperparameters(method: Any) -> None:
    for field in dataclasses.fields(method):
        value, meta = getattr(method, field.name), field.metadata
        key = f"method.{field.name}={value!r}"
        wanted = {"above": "above", "below": "below", "at_least": "at least"}
        for check, limit in meta["check"].items():
            fits = {"above": value > limit, "below": value < limit, "at_least": value >= limit}
            if not fits[check]:
                raise UserError(
                    f"{key} must be {wanted[check]} {limit:g}; usual values: {meta['range']}"
                )
        if isinstance(value, str) and value not in meta["range"].split(", "):
            hint = nearest(value, meta["range"].split(", "))
            raise UserError(f"{key} is not one of {meta['range']}{hint}")


def _positive(run: Run) -> None:
    train, data, evaluation = run.train, run.data, run.evaluation
    positive = {
        "train.learning_rate": train.learning_rate,
        "train.batch_size": train.batch_size,
        "train.epochs": train.epochs,
        "train.sft.learning_rate": train.sft.learning_rate,
        "train.sft.batch_size": train.sft.batch_size,
        "train.sft.epochs": train.sft.epochs,
        "train.execution.positions_per_cut": train.execution.positions_per_cut,
        "train.execution.head_chunk": train.execution.head_chunk,
        "train.execution.checkpoint_every": train.execution.checkpoint_every,
        "data.max_length": data.max_length,
        "evaluation.num_prompts": evaluation.num_prompts,
        "evaluation.max_new_tokens": evaluation.max_new_tokens,
        "evaluation.batch_size": evaluation.batch_size,
    }
    if train.max_steps is not None:
        positive["train.max_steps"] = train.max_steps
    if train.execution.num_threads is not None:
        positive["train.execution.num_threads"] = train.execution.num_threads
    for key, value in positive.items():
        if not value > 0:
            raise UserError(f"{key}={value!r} must be above 0")
    shares = {"train.warmup_share": train.warmup_share, "data.max_dropped_share":
              data.max_dropped_share}  # fmt: skip
    for key, value in shares.items():
        if not 0 <= value <= 1:
            raise UserError(f"{key}={value!r} is a share; give a number from 0 to 1")
    if evaluation.temperature < 0:
        raise UserError(f"evaluation.temperature={evaluation.temperature!r} must be 0 or above")


def _start(run: Run) -> None:
    """The scenario's start model must exist, or be something this run can make."""
    model, scenario = run.model, run.scenario
    have = [str(s) for s in Start if getattr(model, str(s)) is not None]
    source = getattr(model, str(scenario.start))
    if scenario.start is Start.SFT and source is None:
        source = model.base
        if source is not None and isinstance(run.data, FileData) and not run.data.demonstrations:
            raise UserError(
                "scenario=sft-then-align trains on demonstrations and data.demonstrations is null; "
                "give data.demonstrations=FILE (messages per line), or choose another scenario"
            )
    if source is None:
        fits = {"base": "align-from-base", "sft": "sft-then-align", "instruct":
                "align-from-instruct"}  # fmt: skip
        raise UserError(
            f"scenario={scenario.name} starts from model.{scenario.start}, which "
            f"model={model.name} does not have; use scenario={fits[have[0]] if have else '?'} "
            f"or give model.{scenario.start}=FOLDER"
        )
    if source == "here" and model.pretraining is None:
        raise UserError(f"model.{scenario.start}=here needs model.pretraining")


def _reference(run: Run) -> None:
    if run.train.reference is Reference.LIVE and run.train.adapter is not Adapter.LORA:
        raise UserError(
            "train.reference=live takes the reference from the policy with its adapter off; "
            "use train.adapter=lora, or train.reference=store"
        )


def _world(run: Run) -> None:
    from tiebreak.data.world import Knobs

    data = run.data
    assert isinstance(data, WorldData)
    Knobs(
        num_pairs=data.num_pairs,
        label_noise=data.label_noise,
        length_bias=data.length_bias,
        edit_distance=data.edit_distance,
        temperature=data.temperature,
    )
