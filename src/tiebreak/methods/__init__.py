"""The methods: name -> class, found in the files of this folder.

A method is a frozen dataclass of hyper-parameters with a `name`, what it `needs`, and pure
functions of scored responses (`Method` lists them). Importing this imports no torch.
"""

from __future__ import annotations

import importlib
import pkgutil

from tiebreak.methods.contract import Method, Needs
from tiebreak.methods.responses import Pairs, Responses

__all__ = ["METHODS", "Method", "Needs", "Pairs", "Responses"]


def _classes() -> dict[str, type[Method]]:
    """The class of every method by its name, in the order of names."""
    classes = []
    for module in pkgutil.iter_modules(__path__):
        members = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        classes += [m for m in members if isinstance(m, type) and "name" in vars(m)]
    return {cls.name: cls for cls in sorted(classes, key=lambda cls: cls.name)}


METHODS: dict[str, type[Method]] = _classes()
