"""The catalogue of methods, made from their files: docstring, hyper-parameters, needs, search."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any, cast

from tiebreak.config.search import search_space
from tiebreak.errors import UserError, nearest
from tiebreak.methods import METHODS

PARTS = ("Paper", "Official code", "Convention", "Training", "Fixes", "Watch", "Fails")


def catalogue() -> list[dict[str, Any]]:
    """One object per method: name, summary, needs, hyperparameters, source."""
    return [entry(name) for name in METHODS]


def entry(name: str) -> dict[str, Any]:
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
            for field in dataclasses.fields(cast(Any, cls))
        },
    }


def catalogue_lines() -> list[str]:
    width = max(map(len, METHODS)) + 2
    lines = []
    for one in catalogue():
        values = ", ".join(_value(k, v) for k, v in one["hyperparameters"].items())
        lines.append(f"{one['name']:<{width}}{one['summary']}")
        needs = f"needs {', '.join(one['needs']) or 'nothing'}"
        lines.append(f"{'':<{width}}{needs}{'; ' + values if values else ''}")
        lines.append(f"{'':<{width}}{one['source'].removeprefix('Paper: ')}")
    return [*lines, "", "one method with its convention: tiebreak methods NAME"]


def _value(name: str, field: dict[str, Any]) -> str:
    return f"{name}={field['default']}" + (f" ({field['search']})" if field["search"] else "")


def card(name: str) -> str:
    """The convention card of one method."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{nearest(name, METHODS)}; there are "
                        f"{', '.join(METHODS)}")  # fmt: skip
    one = entry(name)
    rows = [
        f"  {key} = {value['default']}   allowed: {value['allowed']}"
        f"{'   search: ' + value['search'] if value['search'] else ''}   from: {value['source']}"
        for key, value in one["hyperparameters"].items()
    ]
    parts = [
        "\n".join(docstring(name)),
        "Hyper-parameters:\n" + ("\n".join(rows) or "  none"),
        f"Needs: {', '.join(one['needs']) or 'nothing'}",
        f"Loss before the first update: {one['loss_at_start']}",
    ]
    return "\n\n".join(parts)


def docstring(name: str) -> list[str]:
    """The lines of the method file's docstring."""
    text = sys.modules[METHODS[name].__module__].__doc__
    assert text is not None
    return inspect.cleandoc(text).splitlines()


def parts(name: str) -> dict[str, list[str]]:
    """That docstring's lines by part: "" for what comes before the first, then those of PARTS."""
    found: dict[str, list[str]] = {"": []}
    for line in docstring(name):
        part, colon, rest = line.partition(":")
        if colon and part in PARTS:
            found[part] = [rest.strip()]
        else:
            found[next(reversed(found))].append(line)
    return found


def _allowed(metadata: Any) -> str:
    signs = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<="}
    bounds = [f"{signs[check]} {limit:g}" for check, limit in metadata["check"].items()]
    return " or ".join(metadata["options"]) or " and ".join(bounds) or "any"
