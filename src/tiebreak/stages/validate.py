"""What a model is worth in the middle of its training, on the rows of the run's evaluation.

A search reads it to end a trial early or to compare two. Training must not notice: the numbers of
a run are the same whether it was looked at or not.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import Run
from tiebreak.stages.evaluate import answer, compare, judge
from tiebreak.stages.stage import Paths
from tiebreak.stages.summary import Evaluated, metrics

if TYPE_CHECKING:
    from tiebreak.stages.align import Line


def validate(run: Run, line: Line, paths: Paths, model: Any) -> dict[str, float]:
    """`summary.metrics` of a model in memory, as the evaluate stage would give them.

    model: a causal LM with or without an adapter, on its device; not inside DDP. paths: the
    folders of the align stage's parents, of which "tokens" is read. Call it between two optimiser
    steps: weights, gradients, modes and random states are afterwards what they were.
    """
    tokens = paths["tokens"]
    with _undisturbed(model):
        tokenizer = line.start.tokenizer(paths)
        answers = answer(run, model, tokenizer, tokens, "validate, answers")
        pairs = compare(run, model, tokens, "validate, pairs")
    return metrics(Evaluated(judge(run, answers), pairs, answers))


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
