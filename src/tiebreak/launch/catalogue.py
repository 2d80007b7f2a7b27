"""The catalogue of methods, made from their files: docstring, hyper-parameters, needs."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from tiebreak.errors import UserError, nearest
from tiebreak.methods import METHODS


def catalogue() -> list[dict[str, Any]]:
    """One object per method: name, summary, needs, hyperparameters, source."""
    return [
        {
            "name": name,
            "title": _docstring(name)[0],
            "summary": cls.summary,
            "needs": cls.needs.words(),
            "loss_at_start": cls.start_loss,
            "source": next(line for line in _docstring(name) if line.startswith("Paper:")),
            "hyperparameters": {
                field.name: {
                    "default": field.default,
                    "source": field.metadata["source"],
                    "range": field.metadata["range"],
                }
                for field in dataclasses.fields(cls)
            },
        }
        for name, cls in METHODS.items()
    ]


def catalogue_lines() -> list[str]:
    lines = []
    for entry in catalogue():
        values = ", ".join(f"{k}={v['default']}" for k, v in entry["hyperparameters"].items())
        lines.append(f"{entry['name']:<8}{entry['summary']}")
        lines.append(f"{'':<8}needs {', '.join(entry['needs']) or 'nothing'}; {values}")
        lines.append(f"{'':<8}{entry['source'].removeprefix('Paper: ')}")
    return [*lines, "", "one method with its convention: tiebreak methods NAME"]


def card(name: str) -> str:
    """The convention card of one method."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{nearest(name, METHODS)}; there are "
                        f"{', '.join(METHODS)}")  # fmt: skip
    cls = METHODS[name]
    rows = [f"  {f.name} = {f.default}   usual: {f.metadata['range']}   from: "
            f"{f.metadata['source']}" for f in dataclasses.fields(cls)]  # fmt: skip
    parts = [
        "\n".join(_docstring(name)),
        "Hyper-parameters:\n" + "\n".join(rows),
        f"Needs: {', '.join(cls.needs.words()) or 'nothing'}",
        f"Loss before the first update: {cls.start_loss}",
    ]
    return "\n\n".join(parts)


def _docstring(name: str) -> list[str]:
    text = sys.modules[METHODS[name].__module__].__doc__
    assert text is not None
    return inspect.cleandoc(text).splitlines()
