"""A table as text: Markdown, LaTeX (booktabs), CSV. The same table gives the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from csv import writer

from analysis.tables.table import Cell, Column, Row, Section, Table


def markdown(table: Table) -> str:
    """One pipe table per section, then the notes, the number of runs and the command."""
    lines: list[str] = []
    for section in table.sections:
        lines += [f"### {_escape_markdown(section.title)}", ""]
        header = [_escape_markdown(text) for text in _header(section)]
        body = [
            [_escape_markdown(row.scenario) if first else "", _escape_markdown(row.label)]
            + [_number(row, *cell, _markdown_number) for cell in _cells(section, row)]
            + [str(row.n)]
            for row, first in _with_first(section.rows)
        ]
        lines += [*_padded(header, body), ""]
    lines += [f"- {_escape_markdown(note)}" for note in table.notes]
    lines.append(f"- {_runs(table)}; made by `{table.command.replace('`', '')}`")
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    r"""One `table` float per section. Needs \usepackage{booktabs}; notes under the last one."""
    lines = [f"% made by: {_one_line(table.command)}", r"% needs: \usepackage{booktabs}"]
    for section in table.sections:
        columns = len(section.columns)
        lines += [
            r"\begin{table}[htbp]",
            r"\centering\small",
            rf"\caption{{{_escape_latex(section.title[:1].upper() + section.title[1:])}}}",
            rf"\begin{{tabular}}{{ll{'r' * (columns + 1)}}}",
            r"\toprule",
            *_latex_header(section),
        ]
        for row, first in _with_first(section.rows):
            texts = [_escape_latex(row.scenario) if first else "", _escape_latex(row.label)]
            texts += [_number(row, *cell, _latex_number) for cell in _cells(section, row)]
            lines += [r"\midrule"] * first + [" & ".join([*texts, str(row.n)]) + r" \\"]
        lines += [r"\bottomrule", r"\end{tabular}"]
        if section is table.sections[-1]:
            lines += _latex_notes(table)
        lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def csv(table: Table) -> str:
    """One line per row, full precision and unscaled units, with group id and run ids."""
    columns = list(dict.fromkeys(c.key for section in table.sections for c in section.columns))
    stream = io.StringIO()
    out = writer(stream, lineterminator="\n")
    where = ["model", "data", "data_hash", "evaluator", "scenario", "row", "method", "n"]
    parts = [f"{key} {part}" for key in columns for part in ("mean", "low", "high", "n")]
    out.writerow([*where, *parts, "group_id", "run_ids"])
    for section in table.sections:
        for row in section.rows:
            place = (section.model, section.data, section.data_hash, section.evaluator)
            about = (row.scenario, row.label, row.method, row.n)
            found = {column.key: cell for column, cell in _cells(section, row)}
            values = [value for key in columns for value in _exact(found.get(key))]
            out.writerow([*place, *about, *values, row.group_id, " ".join(row.run_ids)])
    return stream.getvalue()


def _exact(cell: Cell | None) -> tuple[float | int | None, ...]:
    """What CSV holds of a cell; None is written as an empty field."""
    if cell is None:
        return None, None, None, None
    interval = cell.interval
    return interval.mean, interval.low, interval.high, interval.n


def _header(section: Section) -> list[str]:
    return ["scenario", "method", *(column.heading for column in section.columns), "n"]


def _cells(section: Section, row: Row) -> list[tuple[Column, Cell | None]]:
    return list(zip(section.columns, row.cells, strict=True))


def _with_first(rows: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    """Each row, and whether it opens its scenario."""
    before = None
    for row in rows:
        yield row, row.scenario != before
        before = row.scenario


def _number(
    row: Row, column: Column, cell: Cell | None, write: Callable[[str, str, bool], str]
) -> str:
    if cell is None:
        return ""
    interval = cell.interval
    mean = _decimal(interval.mean * column.scale, column.decimals, signed=column.gain)
    width = interval.half_width
    half = "-" if width is None else _decimal(width * column.scale, column.decimals)
    fewer = "" if interval.n == row.n else f" (n={interval.n})"
    return write(mean, half, cell.best) + fewer


def _decimal(value: float, decimals: int, signed: bool = False) -> str:
    rounded = round(value, decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{decimals}f}"


def _markdown_number(mean: str, half: str, best: bool) -> str:
    return f"**{mean}** ± {half}" if best else f"{mean} ± {half}"


def _latex_number(mean: str, half: str, best: bool) -> str:
    strong = rf"\mathbf{{{mean}}}" if best else mean
    return rf"${strong}$ --" if half == "-" else rf"${strong} \pm {half}$"


def _latex_header(section: Section) -> list[str]:
    """Two lines, broken after the group of a metric: pages are narrow."""
    broken = [heading.rpartition("/") for heading in _header(section)]
    lines = [group + slash for group, slash, _ in broken], [name for *_, name in broken]
    return [" & ".join(map(_escape_latex, line)) + r" \\" for line in lines]


def _padded(header: list[str], body: list[list[str]]) -> list[str]:
    """A pipe table whose columns line up in plain text too; numbers to the right."""
    widths = [max(3, *(len(row[at]) for row in [header, *body])) for at in range(len(header))]
    rule = [f":{'-' * (w - 1)}" if at < 2 else f"{'-' * (w - 1)}:" for at, w in enumerate(widths)]
    lines = []
    for row in [header, rule, *body]:
        texts = [
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return lines


def _runs(table: Table) -> str:
    return f"{table.num_runs} finished run{'' if table.num_runs == 1 else 's'}"


def _latex_notes(table: Table) -> list[str]:
    notes = [_escape_latex(note) for note in table.notes]
    notes.append(rf"{_runs(table)}; made by \texttt{{{_escape_latex(table.command)}}}")
    return [r"\par\smallskip\footnotesize\raggedright", *(rf"{note}.\par" for note in notes)]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape_markdown(text: str) -> str:
    """No name may open emphasis, code, a link, HTML or a new cell."""
    text = re.sub(r"([\\|*`<&\[\]~])", r"\\\1", _one_line(text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
    "±": r"$\pm$", "·": r"$\cdot$",
}  # fmt: skip


def _escape_latex(text: str) -> str:
    """Each special character once, in one pass; braces keep `--` from becoming a dash."""
    escaped = "".join(LATEX.get(character, character) for character in _one_line(text))
    return escaped.replace("--", "-{}-")
