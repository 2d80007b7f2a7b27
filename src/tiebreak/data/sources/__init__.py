"""Where preferences come from, by kind: every file of this folder that has a class `SOURCE`."""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.data.sources.source import Data, Lengths, Sampler

_names = (entry.name for entry in pkgutil.iter_modules(__path__))
_modules = {name: importlib.import_module(f"{__name__}.{name}") for name in _names}
SOURCES: dict[str, type[Data]] = {
    name: module.SOURCE for name, module in _modules.items() if hasattr(module, "SOURCE")
}

__all__ = ["SOURCES", "Data", "Lengths", "Sampler"]
