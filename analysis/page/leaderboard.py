"""The tables as HTML that can be read without scripts; a script makes their columns sortable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tiebreak_analysis.figures.palette import look
from tiebreak_analysis.page.markup import Child, Markup, body, join, scrolling_table, tag
from tiebreak_analysis.published import PublishedFigure, Reference
from tiebreak_analysis.statistics import Interval
from tiebreak_analysis.tables.models import model_words
from tiebreak_analysis.tables.table import LEVEL, Cell, Column, OfModels, Row, Section, Table
from tiebreak_analysis.tables.text import DIFFERS, MISSING, SIGNAL, model_half

TIED = "†"  # as in every other table
WIDTH, HEIGHT, EDGE = 116, 16, 6  # CSS pixels of a drawn interval

Anchors = Mapping[tuple[str | None, str | None], str]
"""(group id, evaluation) -> the id on the page of that group's runs."""


def verdicts(tables: Mapping[str, Table]) -> list[Markup]:
    """What the tables say of each scenario, in words. `tables`: heading -> table."""
    items = []
    for name, table in tables.items():
        for section in table.sections:
            place = [name] * (len(tables) > 1) + [section.title] * (len(table.sections) > 1)
            where = f" ({' · '.join(place)})" if place else ""
            for verdict in section.verdicts:
                items.append(tag("li", tag("b", verdict.scenario), f"{where}: {verdict.text}"))
            for scenario, text in model_words(section):
                words = f"{where}, models: {text}"
                items.append(tag("li", tag("b", scenario), words, class_="models"))
    return items


def leaderboards(tables: Mapping[str, Table], anchors: Anchors) -> Markup:
    """All tables; their headings where there are several."""
    parts: list[Child] = []
    for name, table in tables.items():
        parts += [tag("h3", name, class_="table")] if len(tables) > 1 else []
        for section in table.sections:
            board = _Board(section, table.references, anchors)
            parts += [tag("h3", section.title), board.markup()]
        parts.append(_notes(table))
    return join(parts)


def _notes(table: Table) -> Markup:
    notes = (tag("li", note) for note in (*table.notes, f"made by {table.command}"))
    summary = tag("summary", f"How to read this table · {table.runs_counted}")
    downwards = any(column.sign < 0 for section in table.sections for column in section.columns)
    marks = (
        f": {'best' if downwards else 'highest'} mean of those with enough seeds; {TIED}: tied, "
        "not distinguishable from the best; interval and n as said below"
    )
    if any(section.models.number for section in table.sections):
        marks += (
            f"; {DIFFERS}: this model and the best it is compared with differ on these questions"
        )
    if any(s.undecided(at) for s in table.sections for at in range(len(s.columns))):
        marks += "; grey: the column cannot decide"
    key = tag("p", tag("strong", "bold"), marks, class_="key")
    return join([key, tag("details", summary, tag("ul", *notes), class_="notes")])


@dataclass(frozen=True)
class _Board:
    """One section. A body per scenario: sorting stays inside it, as ties and bold do."""

    section: Section
    letters: Mapping[Reference, str]
    anchors: Anchors

    @property
    def drawn(self) -> int | None:
        """The column whose intervals are drawn: the first gain, else the first with a best."""
        better = [(not c.gain, at) for at, c in enumerate(self.section.columns) if c.sign]
        return min(better)[1] if better else None

    def markup(self) -> Markup:
        heads: list[Markup] = [tag("th", "method", scope="col", class_="method")]
        for at, column in enumerate(self.section.columns):
            kind = f"number{self._grey(at)}"
            heads.append(tag("th", *_heading(column), scope="col", class_=kind))
            if at == self.drawn:
                heads.append(tag("th", f"{100 * LEVEL:.12g} % interval", scope="col",
                                 class_="drawing"))  # fmt: skip
        heads.append(tag("th", "n", scope="col", class_="number"))
        bodies = []
        for scenario, block in groupby(self.section.rows, key=lambda row: row.scenario):
            rows = list(block)
            drawn = [row.cells[self.drawn] for row in rows] if self.drawn is not None else []
            scale = scale_of([cell.interval for cell in drawn if cell is not None])
            bodies.append(body(scenario, [self._row(row, scale) for row in rows], len(heads)))
        return scrolling_table(heads, [*bodies, *self._signal()], "leaderboard")

    def _grey(self, at: int) -> str:
        return " undecided" if self.section.undecided(at) else ""

    def _signal(self) -> list[Markup]:
        """The last row, which no sorting moves."""
        if not any(value is not None for value in self.section.signal):
            return []
        title = "spread between methods over the standard error of a row's mean"
        cells = [tag("th", SIGNAL, scope="row", class_="method", title=title)]
        for at, value in enumerate(self.section.signal):
            text = "" if value is None else f"{value:.1f}"
            kind = f"number{self._grey(at)}"
            cells.append(tag("td", text, class_=kind, data_value=_exact(value)))
            cells += [tag("td", class_="drawing")] * (at == self.drawn)
        return [tag("tfoot", tag("tr", *cells, tag("td", class_="number")))]

    def _row(self, row: Row, scale: tuple[float, float]) -> Markup:
        colour = look(row.method).colour if row.method else "currentColor"
        spot = tag("circle", cx=5, cy=5, r=5, fill=colour)
        dot = tag("svg", spot, class_="dot", viewBox="0 0 10 10", aria_hidden="true")
        label = [dot, row.label] if row.method else [row.label]
        cells = [tag("th", *label, scope="row", class_="method")]
        for at, (column, cell, figure) in enumerate(self.section.slots(row)):
            below = [] if figure is None else [self._published(figure, column)]
            cells.append(_cell(column, cell, row, below, self._grey(at)))
            if at == self.drawn:
                picture = [drawing(cell.interval, scale, colour, column.gain)] if cell else []
                cells.append(tag("td", *picture, class_="drawing"))
        anchor = self.anchors.get((row.group_id, self.section.evaluation))
        linked = anchor is not None and not row.missing
        count = tag("a", row.count, href=f"#{anchor}") if linked else row.count
        cells.append(tag("td", count, class_="number", data_value=row.n))
        kind = "start" if row.method is None else "missing" if row.missing else None
        return tag("tr", *cells, class_=kind)

    def _published(self, figure: PublishedFigure, column: Column) -> Markup:
        marks = f" ({', '.join(figure.marks)})" if figure.marks else ""
        unit = f" {figure.unit}" if figure.unit and figure.unit != column.unit else ""
        letter = tag("sup", self.letters[figure.source, figure.marks])
        text = f"published {figure.value:.10g}{unit}{marks} "
        return tag("small", text, letter, class_="published", title=figure.source)


def _heading(column: Column) -> list[Markup]:
    unit = column.unit_of_difference if column.gain else column.unit
    parts = [tag("span", "gain in ", class_="gain")] if column.gain else []
    group, slash, name = column.metric.rpartition("/")  # broken there: narrow columns
    parts.append(tag("span", group + slash, tag("wbr"), name))
    return [*parts, tag("span", f" ({unit})", class_="unit")] if unit else parts


def _cell(
    column: Column, cell: Cell | None, row: Row, below: Sequence[Markup], grey: str
) -> Markup:
    """Mean, mark, half width; below it what was published. Exact numbers and runs on hover."""
    if cell is None:
        text = [MISSING] if row.missing else []
        return tag("td", *text, *below, class_=f"number{grey}")
    width = cell.interval.half_width
    half, alone = "± –" if width is None else f"± {column.text(width)}", model_half(column, cell)
    half = half if alone is None else f"(± {alone})"
    mark, why = (TIED, "tied with the best") if cell.tied else ("", None)
    if cell.models is not None and cell.models.differs:
        mark, why = DIFFERS, "these two models differ on these questions: it and the best of them"
    parts = [tag("strong" if cell.best else "span", column.text(cell.interval.mean, column.gain))]
    parts += [tag("span", mark, class_="mark", title=why), tag("span", half, class_="half")]
    if cell.interval.n != row.n:
        parts.append(tag("small", f" n={cell.interval.n}"))
    kinds = [f"number{grey}"] + ["best"] * cell.best + ["tied"] * cell.tied
    kinds += ["differs"] * (cell.models is not None and cell.models.differs)
    kinds += ["stale"] * bool(set(cell.run_ids) & set(row.stale))
    exact = _exact_of_models(cell.models) | {
        "data_value": _exact(cell.interval.mean),
        "data_low": _exact(cell.interval.low),
        "data_high": _exact(cell.interval.high),
        "data_p": _exact(cell.p),
        "data_seeds": cell.num_seeds,
        "data_items": cell.num_items or None,
        "data_runs": " ".join(cell.run_ids),
    }
    kind, hover = " ".join(kinds), _hover(cell, column)
    return tag("td", *parts, *below, class_=kind, title=hover, **exact)


def _exact_of_models(models: OfModels | None) -> dict[str, str | int | None]:
    if models is None:
        return {}
    return {
        "data_model_low": _exact(models.interval.low),
        "data_model_high": _exact(models.interval.high),
        "data_model_p": _exact(models.p),
    }


def _exact(value: float | None) -> str | None:
    """The number in the metric's own unit, for scripts and for whoever copies it."""
    return None if value is None else repr(float(value))


def _hover(cell: Cell, column: Column) -> str:
    interval, behind = cell.interval, cell.behind
    exact = f"{column.heading}: {interval.mean * column.scale:.6g}"
    if interval.low is not None and interval.high is not None:
        ends = (f"{end * column.scale:.6g}" for end in (interval.low, interval.high))
        exact += f" [{', '.join(ends)}]"
    items = f", {cell.num_items} items" if cell.num_items else ""
    lines = [exact, f"runs: {', '.join(cell.run_ids)} ({cell.num_seeds} seeds{items})"]
    if behind is not None and behind.low is not None and behind.high is not None:
        ends = f"{column.text(behind.low)} to {column.text(behind.high)}"
        p = "" if cell.p is None else f", p = {cell.p:.2g} after Holm"
        lines.append(f"behind the best by {column.text(behind.mean)} ({ends}{p})")
    apart = None if cell.models is None or cell.models.behind is None else cell.models
    if apart is not None and apart.behind is not None and not apart.highest:
        p = "" if apart.p is None else f"; p = {apart.p:.2g} after Holm"
        lines.append(
            "this model behind the best it is compared with by "
            f"{column.text(apart.behind.mean)} on {apart.behind.num_items} items{p}; nothing of "
            "training again"
        )
    return "\n".join(lines)


def scale_of(intervals: Sequence[Interval]) -> tuple[float, float]:
    """From the lowest to the highest end; but one wide interval must not flatten the others, so
    no further than one range of the means beyond them."""
    means = [i.mean for i in intervals] or [0.0]
    reach = (max(means) - min(means)) or 1.0
    low = min([i.mean if i.low is None else i.low for i in intervals] or [0.0])
    high = max([i.mean if i.high is None else i.high for i in intervals] or [1.0])
    return max(low, min(means) - reach), min(high, max(means) + reach)


def drawing(interval: Interval, scale: tuple[float, float], colour: str, gain: bool) -> Markup:
    """A dot, a line from low to high, cut at the scale's ends; of a gain, where zero is."""
    low, high = scale
    room = (high - low) or 1.0

    def x(value: float) -> str:
        share = min(1.0, max(0.0, (value - low) / room))
        return f"{EDGE + (WIDTH - 2 * EDGE) * share:.1f}"

    middle, parts = HEIGHT // 2, []
    if gain and low < 0 < high:
        parts.append(tag("line", x1=x(0), x2=x(0), y1=0, y2=HEIGHT, class_="zero"))
    if interval.low is not None and interval.high is not None:
        ends = {"x1": x(interval.low), "x2": x(interval.high), "y1": middle, "y2": middle}
        parts.append(tag("line", **ends, stroke=colour, stroke_width=2))
    parts.append(tag("circle", cx=x(interval.mean), cy=middle, r=4, fill=colour))
    size = {"width": WIDTH, "height": HEIGHT, "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    return tag("svg", *parts, **size, aria_hidden="true")
