"""The tables as HTML that can be read without scripts; a script makes their columns sortable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from tiebreak_analysis.figures.palette import look
from tiebreak_analysis.page.intervals import drawing, scale_of
from tiebreak_analysis.page.markup import Markup, join, scroll, tag
from tiebreak_analysis.tables.columns import Column
from tiebreak_analysis.tables.table import START, Cell, Row, Section, Table

TIED = "†"  # as in every other table


def verdicts(tables: Mapping[str, Table]) -> list[Markup]:
    """What the tables say of each scenario, in words. `tables`: heading -> table."""
    said = []
    for name, table in tables.items():
        for section in table.sections:
            place = [name] if len(tables) > 1 else []
            place += [section.title] if len(table.sections) > 1 else []
            where = f" ({' · '.join(place)})" if place else ""
            for verdict in section.verdicts:
                said.append(tag("li", tag("b", verdict.scenario), f"{where}: {verdict.text}"))
    return said


def leaderboards(tables: Mapping[str, Table]) -> Markup:
    """All tables; their headings where there are several."""
    parts = []
    for name, table in tables.items():
        parts += [tag("h3", name, class_="table")] if len(tables) > 1 else []
        parts.append(leaderboard(table))
    return join(parts)


def leaderboard(table: Table) -> Markup:
    """One box per section, then the table's notes."""
    parts = []
    for section in table.sections:
        parts.append(tag("h3", section.title))
        parts.append(scroll(_Board(section, table.level).markup()))
    notes = [tag("li", note) for note in (*table.notes, f"made by {table.command}")]
    count = f"{table.num_runs} finished run{'' if table.num_runs == 1 else 's'}"
    summary = tag("summary", f"How to read this table · {count}")
    marks = (
        f": highest mean of those with enough seeds; {TIED}: tied, not distinguishable from the "
        "best; interval and n as said below"
    )
    key = tag("p", tag("strong", "bold"), marks, class_="key")
    return join([*parts, key, tag("details", summary, tag("ul", *notes), class_="notes")])


@dataclass(frozen=True)
class _Board:
    """One section. A body per scenario: sorting stays inside it, as ties and bold do."""

    section: Section
    level: float

    @property
    def drawn(self) -> int | None:
        """The column whose intervals are drawn: the first gain, else the first with a best."""
        columns = self.section.columns
        better = [at for at, column in enumerate(columns) if column.higher_is_better]
        gains = [at for at in better if columns[at].gain]
        return next(iter([*gains, *better]), None)

    def markup(self) -> Markup:
        heads: list[Markup] = [tag("th", "method", scope="col", class_="method")]
        for at, column in enumerate(self.section.columns):
            heads.append(tag("th", *_heading(column), scope="col", class_="number"))
            if at == self.drawn:
                heads.append(tag("th", f"{100 * self.level:.12g} % interval", scope="col",
                                 class_="drawing"))  # fmt: skip
        heads.append(tag("th", "n", scope="col", class_="number"))
        bodies = []
        for scenario, rows in groupby(self.section.rows, key=lambda row: row.scenario):
            block, span = list(rows), tag("th", scenario, colspan=len(heads), scope="rowgroup")
            scale = (0.0, 1.0) if self.drawn is None else scale_of(
                [cell.interval for row in block if (cell := row.cells[self.drawn]) is not None]
            )  # fmt: skip
            lines = [self._row(row, scale) for row in block]
            bodies.append(tag("tbody", tag("tr", span, class_="scenario"), *lines))
        return tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="leaderboard")

    def _row(self, row: Row, scale: tuple[float, float]) -> Markup:
        colour = look(row.method).colour if row.method else "currentColor"
        cells = [tag("th", *([dot(colour)] if row.method else []), row.label, scope="row",
                     class_="method")]  # fmt: skip
        for at, (column, cell) in enumerate(zip(self.section.columns, row.cells, strict=True)):
            cells.append(_cell(column, cell, row, at))
            if at == self.drawn:
                picture = [drawing(cell.interval, scale, colour, column.gain)] if cell else []
                cells.append(tag("td", *picture, class_="drawing"))
        linked = row.group_id is not None and not row.missing
        count = tag("a", row.count, href=f"#{row.group_id}") if linked else row.count
        cells.append(tag("td", count, class_="number", data_value=row.n))
        kind = "start" if row.label == START else "missing" if row.missing else None
        return tag("tr", *cells, class_=kind)


def _heading(column: Column) -> list[Markup]:
    unit = "points" if column.unit == "%" and column.gain else column.unit
    parts = [tag("span", "gain in ", class_="gain")] if column.gain else []
    group, slash, name = column.metric.rpartition("/")  # broken there: narrow columns
    parts.append(tag("span", group + slash, tag("wbr"), name))
    return [*parts, tag("span", f" ({unit})", class_="unit")] if unit else parts


def _cell(column: Column, cell: Cell | None, row: Row, at: int) -> Markup:
    """Mean, mark, half width; below it what was published. Its runs on hover."""
    figure = row.published[at] if row.published else None
    below = []
    if figure is not None:
        marks = f" ({', '.join(figure.marks)})" if figure.marks else ""
        unit = f" {figure.unit}" if figure.unit and figure.unit != column.unit else ""
        told = f"published {figure.value:g}{unit}{marks}"
        below = [tag("small", told, class_="published", title=figure.source)]
    if cell is None:
        told = ["missing"] if row.missing and not at else []
        return tag("td", *told, *below, class_="number")
    width = cell.interval.half_width
    half = "–" if width is None else column.text(width)
    mark = tag("span", TIED if cell.tied else "", class_="mark", title="tied with the best")
    parts = [tag("strong" if cell.best else "span", column.text(cell.interval.mean, column.gain))]
    parts += [
        mark if cell.tied else tag("span", class_="mark"),
        tag("span", f"± {half}", class_="half"),
    ]
    if cell.interval.n != row.n:
        parts.append(tag("small", f" n={cell.interval.n}"))
    kind = "number best" if cell.best else "number tied" if cell.tied else "number"
    value = repr(float(cell.interval.mean))
    return tag("td", *parts, *below, class_=kind, title=_told(cell, column), data_value=value)


def _told(cell: Cell, column: Column) -> str:
    items = f", {cell.num_items} items" if cell.num_items else ""
    lines = [f"runs: {', '.join(cell.run_ids)} ({cell.num_seeds} seeds{items})"]
    behind = cell.behind
    if behind is not None and behind.low is not None and behind.high is not None:
        ends = f"{column.text(behind.low)} to {column.text(behind.high)}"
        p = "" if cell.p is None else f", p = {cell.p:.2g} after Holm"
        lines.append(f"behind the best by {column.text(behind.mean)} ({ends}{p})")
    return "\n".join(lines)


def dot(colour: str) -> Markup:
    """A spot of a method's colour, beside its name."""
    spot = tag("circle", cx=5, cy=5, r=5, fill=colour)
    return tag("svg", spot, class_="dot", viewBox="0 0 10 10", aria_hidden="true")
