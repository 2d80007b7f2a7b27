"""Where preferences come from, by kind: every file of this folder that has a class `SOURCE`."""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.data.sources.source import Data, Lengths, Sampler


def _found() -> dict[str, type[Data]]:
    modules = (
        importlib.import_module(f"{__name__}.{entry.name}")
        for entry in pkgutil.iter_modules(__path__)
    )
    return {
        module.__name__.rpartition(".")[2]: module.SOURCE
        for module in modules
        if hasattr(module, "SOURCE")
    }


SOURCES: dict[str, type[Data]] = _found()

__all__ = ["SOURCES", "Data", "Lengths", "Sampler"]
