r"""A table as LaTeX: one `table` float per section. Needs \usepackage{booktabs}."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tiebreak_analysis.tables.numbers import (
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
from tiebreak_analysis.tables.table import Row, Section, Table, Verdict


def latex(table: Table) -> str:
    """Verdicts under their section's table, the notes under the last one; ASCII only."""
    lines = [f"% made by: {one_line(table.command)}", r"% needs: \usepackage{booktabs}"]
    for section in table.sections:
        lines += [r"\begin{table}[htbp]", r"\centering\small", *_tabular(section, table.references)]
        last = section is table.sections[-1]
        told = [_verdict(one) for one in section.verdicts] + (_notes(table) if last else [])
        if told:
            lines.append(r"\par\smallskip\footnotesize\raggedright")
            lines += [rf"{text}.\par" for text in told]
        lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def _tabular(section: Section, letters: Mapping[Reference, str]) -> Iterator[str]:
    width = len(header(section)) - 2
    yield rf"\caption{{{_escape(section.title[:1].upper() + section.title[1:])}}}"
    yield rf"\begin{{tabular}}{{ll{'r' * width}}}"
    yield r"\toprule"
    yield from _head(section)
    for row, first in with_first(section.rows):
        texts = [_escape(row.scenario) if first else "", _escape(row.label)]
        texts += [_slot(row, slot, letters) for slot in slots(section, row)]
        if first:
            yield r"\midrule"
        yield " & ".join([*texts, row.count]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _head(section: Section) -> list[str]:
    """Two lines, broken after the group of a metric: pages are narrow."""
    broken = [heading.rpartition("/") for heading in header(section)]
    lines = [group + slash for group, slash, _ in broken], [name for *_, name in broken]
    return [" & ".join(map(_escape, line)) + r" \\" for line in lines]


def _slot(row: Row, slot: Slot, letters: Mapping[Reference, str]) -> str:
    if slot.figure is not None:
        value, letter = figure_text(slot.figure, letters).split()
        return rf"${value}^{{\mathrm{{{letter}}}}}$"
    if slot.cell is None:
        return MISSING if row.missing and not slot.is_figure else ""
    told = parts(row, slot.column, slot.cell)
    mean = rf"\mathbf{{{told.mean}}}" if told.best else told.mean
    mean += r"^{\dagger}" * told.tied
    number = rf"${mean}$ --" if told.half == "-" else rf"${mean} \pm {told.half}$"
    return number + told.fewer


def _verdict(one: Verdict) -> str:
    return rf"\textbf{{{_escape(one.scenario)}}}: {_escape(one.text)}"


def _notes(table: Table) -> list[str]:
    made = rf"{runs_counted(table)}; made by \texttt{{{_escape(table.command)}}}"
    return [*map(_escape, table.notes), made]


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
    "±": r"$\pm$", "·": r"$\cdot$", "†": r"$\dagger$",
}  # fmt: skip


def _escape(text: str) -> str:
    """Each special character once, in one pass; braces keep `--` from becoming a dash."""
    escaped = "".join(LATEX.get(character, character) for character in one_line(text))
    return escaped.replace("--", "-{}-")
