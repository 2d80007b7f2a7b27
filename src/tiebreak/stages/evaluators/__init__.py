"""What can be measured on a model, by name: every file of this folder that has an `EVALUATOR`."""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.stages.evaluators.evaluator import Evaluator


def _found() -> dict[str, Evaluator]:
    modules = (
        importlib.import_module(f"{__name__}.{entry.name}")
        for entry in pkgutil.iter_modules(__path__)
    )
    found = [module.EVALUATOR for module in modules if hasattr(module, "EVALUATOR")]
    return {evaluator.name: evaluator for evaluator in found}


EVALUATORS: dict[str, Evaluator] = _found()

__all__ = ["EVALUATORS", "Evaluator"]
