"""A table as HTML: a fragment for any page, and a page of its own without outside requests.

Every cell says its exact numbers when pointed at, carries them as data attributes, and links to the
runs it was made from: ids, code, data and weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby

from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.facts import Facts
from tiebreak_analysis.tables.numbers import (
    DAGGER,
    MISSING,
    Slot,
    figure_text,
    one_line,
    parts,
    runs_counted,
    slots,
)
from tiebreak_analysis.tables.published import Reference
from tiebreak_analysis.tables.style import STYLE
from tiebreak_analysis.tables.table import SHORT, Cell, Row, Section, Table


def html(table: Table) -> str:
    """A page that stands alone: light and dark, no script, nothing loaded."""
    title = escape(one_line(table.command))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>\n{STYLE}</style></head>",
            "<body>",
            fragment(table),
            "</body></html>\n",
        ]
    )


def fragment(table: Table, prefix: str = "table") -> str:
    """`prefix` begins every id, so that several tables can stand on one page."""
    lines = ['<div class="tiebreak-table">']
    for number, section in enumerate(table.sections):
        lines += _section(section, table, f"{prefix}-{number}")
    lines += ["<ul>", *(f"<li>{escape(note)}</li>" for note in table.notes)]
    made = f"{runs_counted(table)}; made by <code>{escape(one_line(table.command))}</code>"
    return "\n".join([*lines, f"<li>{made}</li>", "</ul>", "</div>"])


def _section(section: Section, table: Table, prefix: str) -> Iterator[str]:
    yield "<div class='scroll'><table>"
    yield f"<caption>{escape(section.title)}</caption>"
    yield f"<thead><tr><th scope='col'>method</th>{''.join(_heads(section))}</tr></thead>"
    numbered = list(enumerate(section.rows))
    width = 2 + len(section.columns) + sum(section.published)
    for scenario, rows in groupby(numbered, key=lambda one: one[1].scenario):
        yield "<tbody>"
        yield f"<tr><th scope='rowgroup' colspan='{width}'>{escape(scenario)}</th></tr>"
        for number, row in rows:
            yield _row(section, row, table.references, f"{prefix}-{number}")
        yield "</tbody>"
    yield "</table></div>"
    if section.verdicts:
        told = (f"<b>{escape(v.scenario)}</b>: {escape(v.text)}" for v in section.verdicts)
        yield f"<ul class='verdicts'>{''.join(f'<li>{one}</li>' for one in told)}</ul>"
    yield "<details class='provenance'><summary>Where these numbers come from</summary>"
    for number, row in numbered:
        yield from _provenance(row, section.stale, table.facts, f"{prefix}-{number}")
    yield "</details>"


def _heads(section: Section) -> Iterator[str]:
    for column, beside in zip(section.columns, section.published, strict=True):
        yield f"<th scope='col'>{escape(column.heading)}</th>"
        if beside:
            yield "<th scope='col'>published</th>"
    yield "<th scope='col'>n</th>"


def _row(section: Section, row: Row, letters: Mapping[Reference, str], anchor: str) -> str:
    cells = "".join(_slot(row, slot, letters, anchor) for slot in slots(section, row))
    kind = "start" if row.method is None else "missing" if row.missing else "method"
    count = f"<td>{escape(row.count)}</td>"
    name = f"<th scope='row'><a href='#{anchor}'>{escape(row.label)}</a></th>"
    return f"<tr class='{kind}'>{name}{cells}{count}</tr>"


def _slot(row: Row, slot: Slot, letters: Mapping[Reference, str], anchor: str) -> str:
    if slot.figure is not None:
        value, letter = figure_text(slot.figure, letters).split()
        title = "; ".join([slot.figure.source, *slot.figure.marks])
        return (
            f"<td class='published' title='{escape(title)}' data-value='{slot.figure.value!r}'>"
            f"{value}<sup>{letter}</sup></td>"
        )
    if slot.cell is None:
        empty = MISSING if row.missing and not slot.is_figure else ""
        return f"<td class='empty'>{empty}</td>"
    told = parts(row, slot.column, slot.cell)
    mean = f"<strong>{told.mean}</strong>" if told.best else told.mean + DAGGER * told.tied
    text = f"<a href='#{anchor}'>{mean} ± {told.half}{told.fewer}</a>"
    return f"<td {_attributes(slot.cell, slot.column, row)}>{text}</td>"


def _attributes(cell: Cell, column: Column, row: Row) -> str:
    """The exact numbers, in the metric's own unit, for scripts and for whoever points at it."""
    i = cell.interval
    named = {
        "mean": repr(i.mean),
        "low": None if i.low is None else repr(i.low),
        "high": None if i.high is None else repr(i.high),
        "seeds": str(cell.num_seeds),
        "items": str(cell.num_items) if cell.num_items else None,
        "p": None if cell.p is None else repr(cell.p),
        "runs": " ".join(cell.run_ids),
    }
    data = "".join(f" data-{key}='{value}'" for key, value in named.items() if value is not None)
    kinds = ["best"] * cell.best + ["tied"] * cell.tied
    kinds += ["stale"] * bool(set(cell.run_ids) & set(row.stale))
    kind = f" class='{' '.join(kinds)}'" if kinds else ""
    return f"title='{escape(_title(cell, column))}'{kind}{data}"


def _title(cell: Cell, column: Column) -> str:
    i, behind = cell.interval, cell.behind
    told = [f"{column.heading}: {i.mean * column.scale:.6g}"]
    if i.low is not None and i.high is not None:
        told.append(f"[{i.low * column.scale:.6g}, {i.high * column.scale:.6g}]")
    told.append(f"seeds {', '.join(map(str, cell.sample.seeds))}")
    told += [f"{cell.num_items} items"] * bool(cell.num_items)
    if behind is not None and cell.p is not None:
        told.append(f"behind the best by {behind.mean * column.scale:.6g}, p = {cell.p:.3g} (Holm)")
    return "; ".join([*told, f"runs {' '.join(cell.run_ids)}"])


def _provenance(
    row: Row, stale: Mapping[str, str], facts: Mapping[str, Facts], anchor: str
) -> Iterator[str]:
    """The id is inside the details: following a link to it opens them."""
    name = f"{escape(row.scenario)}: {escape(row.label)}"
    yield f"<details><summary>{name} ({escape(row.count)})</summary>"
    heads = ("run", "config", "seed", "code", "data", "start model", "model", "evaluator")
    head = "".join(f"<th scope='col'>{one}</th>" for one in heads)
    yield f"<div class='scroll'><table id='{anchor}'><thead><tr>{head}</tr></thead><tbody>"
    for run_id in row.run_ids:
        one = facts[run_id]
        told = [run_id, one.group_id, str(one.seed), _code(one)]
        told += [_hash(text) for text in (one.data, one.start_model, one.model, one.evaluator)]
        kind = f" class='stale' title='{escape(stale[run_id])}'" if run_id in stale else ""
        yield f"<tr{kind}>{''.join(f'<td>{text}</td>' for text in told)}</tr>"
    yield "</tbody></table></div></details>"


def _code(one: Facts) -> str:
    if one.commit is None:
        return "not recorded"
    return _hash(one.commit) + (" with uncommitted changes" if one.dirty else "")


def _hash(text: str | None) -> str:
    """A whole hash makes a table a yard wide; its beginning is shown, all of it when pointed at."""
    if text is None:
        return "not recorded"
    short = escape(text[:SHORT]) + "…" * (len(text) > SHORT)
    return f"<code title='{escape(text)}'>{short}</code>"
