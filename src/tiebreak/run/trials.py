"""Optuna, as far as a search needs it: where trials are kept, how settings are drawn and pruned."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.compose import Run
from tiebreak.config.schema import RunConfig
from tiebreak.config.typed import Choice, Interval, Space
from tiebreak.home import artefacts_dir
from tiebreak.interrupt import Pruned
from tiebreak.stages.evaluators import evaluator_of
from tiebreak.stages.evaluators.evaluator import Row, Subject
from tiebreak.stages.plan import plan_of
from tiebreak.stages.stage import OnStep, Paths
from tiebreak.store import Store

if TYPE_CHECKING:
    import optuna

REDUCTION = 3  # of the trials that reach a rung, one in three goes on


def open_study(reference: Mapping[str, Any]) -> optuna.Study:
    """The trials of one cell, from the journal; made when they are not there."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    Path(reference["journal"]).parent.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(reference["journal"])),
        study_name=reference["study"],
        direction="maximize" if reference["maximise"] else "minimize",
        sampler=optuna.samplers.TPESampler(seed=reference["seed"], constant_liar=True),
        pruner=pruner(reference["pruner"], reference["rungs"]),
        load_if_exists=True,
    )


def pruner(name: str, rungs: int) -> Any:
    """Resources are counted in rungs: the k-th look at a trial is resource REDUCTION ** k."""
    import optuna

    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(1, REDUCTION)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(1, REDUCTION**rungs, REDUCTION)
    return optuna.pruners.NopPruner()


def distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        key: CategoricalDistribution([plain(v) for v in values.values])
        if isinstance(values, Choice)
        else FloatDistribution(values.low, values.high, log=values.log)
        for key, values in space.items()
    }


def plain(value: Any) -> Any:
    """What a categorical choice may be: lists are kept as their JSON."""
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination of the values of a space of lists."""
    values = [v.values for v in space.values() if isinstance(v, Choice)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def draw(space: Space, name: str, number: int) -> dict[str, Any]:
    """The settings of trial `number`, drawn at random and all different; fixed by `name`."""
    rng, seen = random.Random(f"trials {name}"), []
    while len(seen) <= number:
        point = {key: _value(values, rng) for key, values in space.items()}
        if point not in seen:
            seen.append(point)
    return seen[number]


def _value(values: Choice | Interval, rng: random.Random) -> Any:
    if isinstance(values, Choice):
        return rng.choice(values.values)
    if values.log:
        return math.exp(rng.uniform(math.log(values.low), math.log(values.high)))
    return rng.uniform(values.low, values.high)


def rung_at(step: int, steps: int, rungs: int) -> int | None:
    """Which rung ends at this step of a training of `steps`: 0 is the first; None: none does."""
    at = [max(1, round(steps / REDUCTION ** (rungs - k))) for k in range(rungs)]
    return at.index(step) if step in at and step < steps else None


def judge(run: Run, reference: Mapping[str, Any]) -> OnStep:
    """Judges a trial on validation rows at each rung of its training: raises Pruned when it is not
    among the best of those that came this far."""
    import optuna

    study, metric = open_study(reference), reference["metric"]
    (found,) = [t for t in study.trials if t.number == reference["number"]]
    trial = optuna.trial.Trial(study, found._trial_id)
    tokens = Store(artefacts_dir()).path(run.plan.held_out.name, run.plan.held_out.key)

    def look(step: int, steps: int, paths: Paths, model: Any) -> None:
        rung = rung_at(step, steps, reference["rungs"])
        if rung is None:
            return
        value = validate(run, tokens, model)[metric]
        trial.report(value, REDUCTION**rung)
        if trial.should_prune():
            raise Pruned(f"{metric} {value:.4g} at step {step}: behind the other trials")

    return look


def validate(run: RunConfig, tokens: Path, model: Any) -> dict[str, float]:
    """The metrics of a model in memory, as the evaluators' stages would give them. model: a causal
    LM with or without an adapter, on its device; not inside DDP. tokens: folder of the evaluation's
    rows as token ids. Call it between two optimiser steps: weights, gradients, modes and random
    states are afterwards what they were."""
    metrics: dict[str, float] = {}
    items: dict[str, list[Row]] = {}
    plan = plan_of(run)
    with _undisturbed(model):
        for name in plan.evaluations:
            own = plan.pair_rows.get(name)
            evaluator = evaluator_of(name, run.evaluation)
            if evaluator.calls is not None:
                continue  # nobody is asked about a model that is not finished
            rows = Store(artefacts_dir()).path(own.name, own.key) if own else tokens
            subject = Subject(run, rows, plan.start.tokenizer(), lambda: model, items=items)
            items[name] = evaluator.items(subject)
            metrics |= evaluator.metrics(items[name])
    return metrics


@contextmanager
def _undisturbed(model: Any) -> Generator[None]:
    """Evaluation mode inside; every trace of it is gone outside."""
    import numpy as np
    import torch

    modes = [(module, module.training) for module in model.modules()]
    settings = [(module, vars(module).get("generation_config")) for module in _generators(model)]
    python, arrays = random.getstate(), np.random.get_state()
    on_gpu = next(model.parameters()).is_cuda
    model.eval()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()) if on_gpu else ()):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        for module, training in modes:
            module.training = training
        for module, config in settings:
            vars(module).pop("generation_config", None)
            if config is not None:
                module.generation_config = config


def _generators(model: Any) -> list[Any]:
    """The modules to which generation gives settings of its own, which are saved with the weights:
    the LM, and its adapter's shell."""
    return [model, model.get_base_model()] if hasattr(model, "peft_config") else [model]
