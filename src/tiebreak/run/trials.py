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

from tiebreak.config.schema import RunConfig
from tiebreak.config.typed import Choice, Space
from tiebreak.interrupt import Pruned
from tiebreak.stages.evaluators import EVALUATORS
from tiebreak.stages.evaluators.evaluator import Row, Subject
from tiebreak.stages.plan import plan_of

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
        point = _draw(space, rng)
        if point not in seen:
            seen.append(point)
    return seen[number]


def num_points(space: Space) -> float:
    """How many settings there are."""
    sizes = [len(v.values) if isinstance(v, Choice) else math.inf for v in space.values()]
    return math.prod(sizes)


def _draw(space: Space, rng: random.Random) -> dict[str, Any]:
    point: dict[str, Any] = {}
    for key, values in space.items():
        if isinstance(values, Choice):
            point[key] = rng.choice(values.values)
        elif values.log:
            point[key] = math.exp(rng.uniform(math.log(values.low), math.log(values.high)))
        else:
            point[key] = rng.uniform(values.low, values.high)
    return point


def rung_at(step: int, steps: int, rungs: int) -> int | None:
    """Which rung ends at this step of a training of `steps`: 0 is the first; None: none does."""
    at = [max(1, round(steps / REDUCTION ** (rungs - k))) for k in range(rungs)]
    return at.index(step) if step in at and step < steps else None


class Watch:
    """Looks at a trial's training now and then, and ends it where the search says so."""

    def __init__(self, reference: Mapping[str, Any]) -> None:
        import optuna

        self.metric, self.rungs = reference["metric"], reference["rungs"]
        study = open_study(reference)
        (found,) = [t for t in study.trials if t.number == reference["number"]]
        self.trial = optuna.trial.Trial(study, found._trial_id)
        self.looks = reference["pruner"] != "none"

    def rung(self, step: int, steps: int) -> int | None:
        """The rung that is judged at this step, if any."""
        return rung_at(step, steps, self.rungs) if self.looks else None

    def report(self, rung: int, value: float, step: int) -> None:
        """Raises Pruned when the trial is not among the best of those that came this far."""
        self.trial.report(value, REDUCTION**rung)
        if self.trial.should_prune():
            raise Pruned(f"{self.metric} {value:.4g} at step {step}: behind the other trials")


def validate(run: RunConfig, tokens: Path, model: Any) -> dict[str, float]:
    """The metrics of a model in memory, as the evaluators' stages would give them.

    model: a causal LM with or without an adapter, on its device; not inside DDP. tokens: folder of
    the evaluation's rows as token ids. Call it between two optimiser steps: weights, gradients,
    modes and random states are afterwards what they were.
    """
    metrics: dict[str, float] = {}
    items: dict[str, list[Row]] = {}
    plan = plan_of(run)
    with _undisturbed(model):
        for name in plan.evaluations:
            subject = Subject(run, tokens, plan.start.tokenizer(), lambda: model, items=items)
            items[name] = EVALUATORS[name].items(subject)
            metrics |= EVALUATORS[name].metrics(items[name])
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
    """The modules to which generation gives settings of its own: the LM, and its adapter's shell.

    They are saved with the weights, so a policy must leave with those it came with.
    """
    return [model, model.get_base_model()] if hasattr(model, "peft_config") else [model]
