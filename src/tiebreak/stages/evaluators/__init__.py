"""What can be measured on a model, by name: every file of this folder that has an `EVALUATOR`."""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.stages.evaluators.benchmark import benchmark
from tiebreak.stages.evaluators.evaluator import Evaluator

_names = (entry.name for entry in pkgutil.iter_modules(__path__))
_modules = [importlib.import_module(f"{__name__}.{name}") for name in _names]
EVALUATORS: dict[str, Evaluator] = {
    module.EVALUATOR.name: module.EVALUATOR for module in _modules if hasattr(module, "EVALUATOR")
}


def evaluator_of(name: str) -> Evaluator:
    """The evaluator of that name; any other name is a benchmark of lm-eval."""
    return EVALUATORS.get(name) or benchmark(name)


__all__ = ["EVALUATORS", "Evaluator", "evaluator_of"]
