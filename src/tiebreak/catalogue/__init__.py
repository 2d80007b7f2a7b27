"""The catalogue of methods for readers: their cards, made from docstrings, hyper-parameters and
needs. `pages` makes docs/methods of them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from tiebreak.config.typed import search_space
from tiebreak.errors import UserError, nearest
from tiebreak.methods import METHODS

PARTS = ("Paper", "Official code", "Convention", "Training", "Fixes", "Watch", "Fails")


def catalogue() -> list[dict[str, Any]]:
    """The catalogue's entry of every method."""
    return [entry(name) for name in METHODS]


def entry(name: str) -> dict[str, Any]:
    """A method as plain values: name, title, summary, needs, loss at the start, source and
    hyper-parameters."""
    cls = METHODS[name]
    return {
        "name": name,
        "title": docstring(name)[0],
        "summary": cls.summary,
        "needs": cls().needs.words(),
        "loss_at_start": cls.start_loss,
        "source": next(line for line in docstring(name) if line.startswith("Paper:")),
        "hyperparameters": {
            field.name: {
                "default": field.default,
                "allowed": _allowed(field.metadata),
                "search": str(search_space(name).get(field.name, "")),
                "source": field.metadata["source"],
            }
            for field in dataclasses.fields(cls)
        },
    }


def catalogue_lines() -> list[str]:
    """The lines of `tiebreak methods`: three per method."""
    width = max(map(len, METHODS)) + 2
    lines = []
    for method in catalogue():
        values = ", ".join(_value(k, v) for k, v in method["hyperparameters"].items())
        lines.append(f"{method['name']:<{width}}{method['summary']}")
        needs = f"needs {', '.join(method['needs']) or 'nothing'}"
        lines.append(f"{'':<{width}}{needs}{'; ' + values if values else ''}")
        lines.append(f"{'':<{width}}{method['source'].removeprefix('Paper: ')}")
    return [*lines, "", "one method with its convention: tiebreak methods NAME"]


def _value(name: str, field: dict[str, Any]) -> str:
    return f"{name}={field['default']}" + (f" ({field['search']})" if field["search"] else "")


def card(name: str) -> str:
    """The convention card of one method; UserError for an unknown name."""
    if name not in METHODS:
        hint = nearest(name, METHODS)
        raise UserError(f"unknown method {name!r}{hint}; there are {', '.join(METHODS)}")
    method = entry(name)
    rows = [
        f"  {key} = {value['default']}   allowed: {value['allowed']}"
        f"{'   search: ' + value['search'] if value['search'] else ''}   from: {value['source']}"
        for key, value in method["hyperparameters"].items()
    ]
    blocks = [
        "\n".join(docstring(name)),
        "Hyper-parameters:\n" + ("\n".join(rows) or "  none"),
        f"Needs: {', '.join(method['needs']) or 'nothing'}",
        f"Loss before the first update: {method['loss_at_start']}",
    ]
    return "\n\n".join(blocks)


def docstring(name: str) -> list[str]:
    """The lines of the method file's docstring."""
    text = sys.modules[METHODS[name].__module__].__doc__
    assert text is not None
    return inspect.cleandoc(text).splitlines()


def parts(name: str) -> dict[str, list[str]]:
    """The lines of a method's docstring by part of PARTS; those before the first part under ""."""
    lines_of: dict[str, list[str]] = {"": []}
    for line in docstring(name):
        part, colon, rest = line.partition(":")
        if colon and part in PARTS:
            lines_of[part] = [rest.strip()]
        else:
            lines_of[next(reversed(lines_of))].append(line)
    return lines_of


def _allowed(metadata: Any) -> str:
    """The values a hyper-parameter may take, in words."""
    signs = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<="}
    bounds = [f"{signs[check]} {limit:g}" for check, limit in metadata["check"].items()]
    return " or ".join(metadata["options"]) or " and ".join(bounds) or "any"
