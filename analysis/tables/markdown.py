"""A table as Markdown: one pipe table per section, its verdicts, then the notes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tiebreak_analysis.tables.numbers import (
    DAGGER,
    MISSING,
    Slot,
    figure_text,
    header,
    one_line,
    parts,
    runs_counted,
    slots,
    with_first,
)
from tiebreak_analysis.tables.published import Reference
from tiebreak_analysis.tables.table import Row, Section, Table


def markdown(table: Table) -> str:
    """The verdicts stand under their section; the notes, number of runs and command at the end."""
    lines: list[str] = []
    for section in table.sections:
        lines += [f"### {_escape(section.title)}", "", *_pipes(section, table.references), ""]
        for one in section.verdicts:
            lines.append(f"- **{_escape(one.scenario)}**: {_escape(one.text)}")
        lines += [""] * bool(section.verdicts)
    if table.sections[-1].verdicts:
        lines.pop()  # one list: a blank line would only spread it
    lines += [f"- {_escape(note)}" for note in table.notes]
    lines.append(f"- {runs_counted(table)}; made by `{table.command.replace('`', '')}`")
    return "\n".join(lines) + "\n"


def _pipes(section: Section, letters: Mapping[Reference, str]) -> list[str]:
    body = [
        [_escape(row.scenario) if first else "", _escape(row.label)]
        + [_slot(row, slot, letters) for slot in slots(section, row)]
        + [row.count]
        for row, first in with_first(section.rows)
    ]
    return _padded([_escape(text) for text in header(section)], body)


def _slot(row: Row, slot: Slot, letters: Mapping[Reference, str]) -> str:
    if slot.figure is not None:
        return figure_text(slot.figure, letters)
    if slot.cell is None:
        return MISSING if row.missing and not slot.is_figure else ""
    told = parts(row, slot.column, slot.cell)
    mean = f"**{told.mean}**" if told.best else told.mean + DAGGER * told.tied
    return f"{mean} ± {told.half}{told.fewer}"


def _padded(head: list[str], body: Sequence[list[str]]) -> list[str]:
    """A pipe table whose columns line up in plain text too; numbers to the right."""
    widths = [max(3, *(len(row[at]) for row in [head, *body])) for at in range(len(head))]
    rule = [f":{'-' * (w - 1)}" if at < 2 else f"{'-' * (w - 1)}:" for at, w in enumerate(widths)]
    lines = []
    for row in [head, rule, *body]:
        texts = [
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return lines


def _escape(text: str) -> str:
    """No name may open emphasis, code, a link, HTML or a new cell."""
    text = re.sub(r"([\\|*`<&\[\]~])", r"\\\1", one_line(text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
