"""What can be measured on a model, by name: every file of this folder that has an `EVALUATOR`."""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.stages.evaluators.evaluator import Evaluator

_names = (entry.name for entry in pkgutil.iter_modules(__path__))
_modules = [importlib.import_module(f"{__name__}.{name}") for name in _names]
EVALUATORS: dict[str, Evaluator] = {
    module.EVALUATOR.name: module.EVALUATOR for module in _modules if hasattr(module, "EVALUATOR")
}

__all__ = ["EVALUATORS", "Evaluator"]
