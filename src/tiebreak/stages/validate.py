"""What a model is worth in the middle of its training, on the rows of the run's evaluation.

A search reads it to end a trial early or to compare two. Training must not notice: the numbers of
a run are the same whether it was looked at or not.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.stages.evaluators import EVALUATORS
from tiebreak.stages.evaluators.evaluator import Row, Subject
from tiebreak.stages.plan import plan_of


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
