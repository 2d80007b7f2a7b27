"""What can be measured on a model, by name: every file of this folder that has an `EVALUATOR`, or
`EVALUATORS` where several differ in little but their name."""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.config.schema import EvaluationConfig
from tiebreak.data.pair_sets import pair_sets
from tiebreak.stages.evaluators.benchmark import benchmark
from tiebreak.stages.evaluators.evaluator import Evaluator
from tiebreak.stages.evaluators.pair_set import pair_set

_names = (entry.name for entry in pkgutil.iter_modules(__path__))
_modules = [importlib.import_module(f"{__name__}.{name}") for name in _names]
EVALUATORS: dict[str, Evaluator] = {
    one.name: one
    for module in _modules
    for one in (*getattr(module, "EVALUATORS", ()), getattr(module, "EVALUATOR", None))
    if one is not None
}


def evaluator_of(name: str, evaluation: EvaluationConfig) -> Evaluator:
    """The evaluator of that name: one of this folder, else a pair set of the evaluation; any other
    name is a benchmark of lm-eval."""
    if name in EVALUATORS:
        return EVALUATORS[name]
    return pair_set(name) if name in pair_sets(evaluation.pair_sets) else benchmark(name)


__all__ = ["EVALUATORS", "Evaluator", "evaluator_of"]
