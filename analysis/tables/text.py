r"""A table as Markdown, and as LaTeX: a float per section, which needs \usepackage{booktabs}."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby

from tiebreak_analysis.published import Reference
from tiebreak_analysis.tables.models import model_words
from tiebreak_analysis.tables.table import Cell, Column, Row, Section, Table

DAGGER, DIFFERS = "†", "‡"
SIGNAL = "signal-to-noise"
MISSING = "missing"
NO_INTERVAL = "-"

WriteCell = Callable[[Row, Column, Cell], str]
WriteFigure = Callable[[str, str], str]
"""Takes the value as it was published and the letter of its note."""


def markdown(table: Table) -> str:
    """One pipe table per section, its verdicts; then the notes, number of runs and command."""
    lines: list[str] = []
    for section in table.sections:
        lines += [f"### {_escape(section.title)}", "", *_pipes(section, table.references), ""]
        for verdict in section.verdicts:
            lines.append(f"- **{_escape(verdict.scenario)}**: {_escape(verdict.text)}")
        for scenario, text in model_words(section):
            lines.append(f"- **{_escape(scenario)}**, models: {_escape(text)}")
        lines += [""] * lines[-1].startswith("- ")
    if not lines[-1] and lines[-2].startswith("- "):
        lines.pop()  # one list: a blank line would only spread it
    lines += [f"- {_escape(note)}" for note in table.notes]
    lines.append(f"- {table.runs_counted}; made by `{table.command.replace('`', '')}`")
    return "\n".join(lines) + "\n"


def header(section: Section) -> list[str]:
    """One text per printed column: a published column stands beside ours where there is one."""
    texts = ["scenario", "method"]
    for column, beside in zip(section.columns, section.published, strict=True):
        texts.append(column.heading)
        texts += ["published"] * beside
    return [*texts, "n"]


def printed_cells(
    section: Section,
    row: Row,
    letters: Mapping[Reference, str],
    write: WriteCell,
    write_figure: WriteFigure,
) -> Iterator[str]:
    """A row's cells between its label and its n: ours, each with the published figure beside it."""
    for (column, cell, figure), beside in zip(section.slots(row), section.published, strict=True):
        if cell is not None:
            yield write(row, column, cell)
        else:
            yield MISSING if row.missing else ""
        if figure is not None:
            yield write_figure(f"{figure.value:.10g}", letters[figure.source, figure.marks])
        elif beside:
            yield ""


def signal_cells(section: Section) -> list[str]:
    """The last row, from its label on; empty where no column has a signal-to-noise ratio."""
    if not any(value is not None for value in section.signal):
        return []
    texts = [SIGNAL]
    for value, beside in zip(section.signal, section.published, strict=True):
        texts += ["" if value is None else f"{value:.1f}"] + [""] * beside
    return [*texts, ""]


def cell_parts(row: Row, column: Column, cell: Cell) -> tuple[str, str, str]:
    """A cell's mean, half width, and ` (n=2)` where only two of the row's runs have the metric.
    Of one seed the half width is NO_INTERVAL; see `model_half`."""
    interval, width = cell.interval, cell.interval.half_width
    half = NO_INTERVAL if width is None else column.text(width)
    fewer = "" if interval.n == row.n else f" (n={interval.n})"
    return column.text(interval.mean, signed=column.gain), half, fewer


def model_half(column: Column, cell: Cell) -> str | None:
    """Half width over questions, where that is all there is: one seed."""
    width = None if cell.models is None else cell.models.interval.half_width
    return None if width is None or cell.interval.low is not None else column.text(width)


def one_line(text: str) -> str:
    return " ".join(text.split())


def _pipes(section: Section, letters: Mapping[Reference, str]) -> list[str]:
    """A pipe table whose columns line up in plain text too; numbers to the right."""
    head = [_escape(text) for text in header(section)]
    body = []
    for scenario, rows in groupby(section.rows, key=lambda row: row.scenario):
        for at, row in enumerate(rows):
            cells = printed_cells(section, row, letters, _markdown_cell, "{} {}".format)
            name = "" if at else _escape(scenario)
            body.append([name, _escape(row.label), *cells, row.count])
    body += [["", *cells] for cells in [signal_cells(section)] if cells]
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


def _markdown_cell(row: Row, column: Column, cell: Cell) -> str:
    mean, half, fewer = cell_parts(row, column, cell)
    mean = f"**{mean}**" if cell.best else mean + DAGGER * cell.tied
    mean += DIFFERS * (cell.models is not None and cell.models.differs)
    alone = model_half(column, cell)
    return f"{mean} ± {half}{fewer}" if alone is None else f"{mean} (± {alone}){fewer}"


def _escape(text: str) -> str:
    """Text in which no name can open emphasis, code, a link, HTML or a new cell."""
    text = re.sub(r"([\\|*`<&\[\]~])", r"\\\1", one_line(text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def latex(table: Table) -> str:
    """Verdicts under their section's table, the notes under the last one; ASCII only."""
    lines = [f"% made by: {one_line(table.command)}", r"% needs: \usepackage{booktabs}"]
    for section in table.sections:
        lines += [r"\begin{table}[htbp]", r"\centering\small", *_tabular(section, table.references)]
        texts = [
            rf"\textbf{{{_latex_escape(verdict.scenario)}}}: {_latex_escape(verdict.text)}"
            for verdict in section.verdicts
        ]
        texts += [
            rf"\textbf{{{_latex_escape(scenario)}}}, models: {_latex_escape(text)}"
            for scenario, text in model_words(section)
        ]
        if section is table.sections[-1]:
            made = rf"{table.runs_counted}; made by \texttt{{{_latex_escape(table.command)}}}"
            texts += [*map(_latex_escape, table.notes), made]
        if texts:
            lines.append(r"\par\smallskip\footnotesize\raggedright")
            lines += [rf"{text}.\par" for text in texts]
        lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def _tabular(section: Section, letters: Mapping[Reference, str]) -> Iterator[str]:
    """Its head is two lines, broken after the group of a metric: pages are narrow."""
    width = len(header(section)) - 2
    yield rf"\caption{{{_latex_escape(section.title[:1].upper() + section.title[1:])}}}"
    yield rf"\begin{{tabular}}{{ll{'r' * width}}}"
    yield r"\toprule"
    broken = [heading.rpartition("/") for heading in header(section)]
    for line in [group + slash for group, slash, _ in broken], [name for *_, name in broken]:
        yield " & ".join(map(_latex_escape, line)) + r" \\"
    figure = r"${}^{{\mathrm{{{}}}}}$".format
    for scenario, rows in groupby(section.rows, key=lambda row: row.scenario):
        yield r"\midrule"
        for at, row in enumerate(rows):
            name = "" if at else _latex_escape(scenario)
            cells = printed_cells(section, row, letters, _latex_cell, figure)
            yield " & ".join([name, _latex_escape(row.label), *cells, row.count]) + r" \\"
    if last := signal_cells(section):
        yield r"\midrule"
        yield " & ".join(["", *map(_latex_escape, last)]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_cell(row: Row, column: Column, cell: Cell) -> str:
    mean, half, fewer = cell_parts(row, column, cell)
    mean = rf"\mathbf{{{mean}}}" if cell.best else mean
    mean += r"^{\dagger}" * cell.tied
    mean += r"^{\ddagger}" * (cell.models is not None and cell.models.differs)
    alone = model_half(column, cell)
    if alone is not None:
        return rf"${mean}$ ($\pm {alone}$){fewer}"
    return (rf"${mean}$ --" if half == NO_INTERVAL else rf"${mean} \pm {half}$") + fewer


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
    "±": r"$\pm$", "·": r"$\cdot$", "†": r"$\dagger$", "‡": r"$\ddagger$",
}  # fmt: skip


def _latex_escape(text: str) -> str:
    """Each special character once, in one pass; braces keep `--` from becoming a dash."""
    escaped = "".join(LATEX.get(character, character) for character in one_line(text))
    return escaped.replace("--", "-{}-")
