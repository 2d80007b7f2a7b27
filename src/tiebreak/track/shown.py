"""What the mirror shows in W&B besides numbers: pages of HTML, and a table of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

SAMPLES = 32


@dataclass(frozen=True)
class Comparison:
    """What several runs say together: summary values, a page, and a table with a row per cell."""

    summary: Mapping[str, float | str]
    page: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def renew(summary: Any, told: Mapping[str, float | str]) -> None:
    """`told` in place of what an earlier call left there; W&B keeps what it is not told to drop."""
    for name in [name for name in summary.keys() if not name.startswith("_")]:
        if name not in told and not isinstance(summary[name], Mapping):  # a page or a table
            del summary[name]
    summary.update(told)


def html(page: str) -> Any:
    import wandb

    return wandb.Html(page, inject=False, data_is_not_path=True)


def table(told: Comparison) -> Any:
    """Its columns hold numbers or nothing, or text or nothing."""
    import wandb

    rows: list[Iterable[Any]] = [list(row) for row in told.rows]
    return wandb.Table(columns=list(told.columns), data=rows)


def generations(rows: Sequence[Mapping[str, Any]]) -> str:
    """prompt, before, after of the first rows, escaped: text from a model is never markup."""
    columns = ("prompt", "before", "after")
    lines = ["<table border='1'><tr>" + "".join(f"<th>{c}</th>" for c in columns) + "</tr>"]
    for row in rows[:SAMPLES]:
        texts = [row[c] if isinstance(row[c], str) else json.dumps(row[c]) for c in columns]
        cells = "".join(f"<td><pre>{escape(text)}</pre></td>" for text in texts)
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table>"])
