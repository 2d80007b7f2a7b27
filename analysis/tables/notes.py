"""What stands under a table: how to read it; `left_out` says which runs are not in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tiebreak_analysis.statistics import RECOMMENDED_SEEDS
from tiebreak_analysis.tables.items import PerItem
from tiebreak_analysis.tables.left_out import left_out
from tiebreak_analysis.tables.published import Reference, within_spread
from tiebreak_analysis.tables.sections import Asked, Chosen
from tiebreak_analysis.tables.table import Row, Section
from tiebreak_analysis.tables.ties import FEW


def write(
    chosen: Chosen,
    asked: Asked,
    sections: Sequence[Section],
    items: PerItem,
    letters: Mapping[Reference, str],
) -> Iterator[str]:
    """The notes, plain text, in the order they are printed."""
    yield _intervals(sections, asked.level)
    yield from _counts(sections)
    yield from _tests(sections, asked.level)
    yield from _few_seeds(sections)
    yield from _conventions(sections, asked.footnotes)
    yield from _published(sections, letters)
    yield from left_out(chosen, asked.planned, sections, items)


def _intervals(sections: Sequence[Section], level: float) -> str:
    """Which of the two kinds of interval a column has: a reader may not assume the wider one."""
    by_seed, by_item, fixed = set(), set(), False
    for section in sections:
        for row in section.rows:
            for column, cell in zip(section.columns, row.cells, strict=True):
                if cell is None:
                    continue
                if row.method is not None:
                    (by_item if cell.num_items else by_seed).add(column.key)
                fixed |= row.method is None and row.n == 1 and cell.num_items > 1
    over = "seeds (Student t)"
    if by_item:
        alone = ", ".join(sorted(key.replace("gain:", "gain in ") for key in by_seed))
        over = "seeds and test items" + (f", over seeds alone: {alone}" if alone else "")
    start = "; of a single start model over items" if fixed else ""
    return (
        f"±: half width of the {100 * level:.12g} % interval of the mean over {over}{start}; "
        "-: no interval, n = 1; empty: not measured"
    )


def _counts(sections: Sequence[Section]) -> Iterator[str]:
    yield (
        "n: seeds of a method, distinct models of a start model; "
        "gain: a run's value minus that of its own start model"
    )
    rows = [row for section in sections for row in section.rows]
    if any(row.planned is not None and row.n < row.planned for row in rows):
        yield "n of m: only so many of the runs asked for are finished; missing: none of them"
    if any(cell is not None and cell.interval.n < row.n for row in rows for cell in row.cells):
        yield "(n=...) in a cell: only so many of the row's runs have that metric"


def _tests(sections: Sequence[Section], level: float) -> Iterator[str]:
    """One note for what bold and the dagger mean, and one for what a tie does not mean."""
    cells = [cell for s in sections for row in s.rows for cell in row.cells if cell is not None]
    if not any(cell.best for cell in cells):
        return
    tests = ", ".join(str(s.num_tests) for s in sections if s.num_tests)
    each = "the section" if len(sections) == 1 else "each section"
    yield (
        f"bold: highest mean among the methods of a scenario; †: not distinguishable from it at "
        f"the {100 * level:.12g} % level, paired on seeds and items, Holm's correction over all "
        f"pairs of {each} ({tests})"
    )
    tied = [cell for cell in cells if cell.tied]
    if tied:
        fewest = min(cell.behind.num_seeds for cell in tied if cell.behind is not None)
        yield (
            f"† is no proof of equality: with {fewest} seeds only large differences can be shown"
            + (f"; {RECOMMENDED_SEEDS} are recommended" if fewest < RECOMMENDED_SEEDS else "")
        )


def _few_seeds(sections: Sequence[Section]) -> Iterator[str]:
    rows = [row for section in sections for row in section.rows if _measured(row)]
    few = [row for row in rows if row.n < FEW]
    if few:
        yield (
            f"too few seeds (fewer than {FEW}) in {len(few)} of {_count(len(rows), 'method row')}: "
            "they cannot tell methods apart, and none of them is marked"
        )


def _measured(row: Row) -> bool:
    return row.method is not None and not row.missing


def _conventions(sections: Sequence[Section], footnotes: Mapping[str, str]) -> Iterator[str]:
    shown = dict.fromkeys(row.method for s in sections for row in s.rows if row.method is not None)
    for method in shown:
        if method in footnotes:
            yield f"{method}: {footnotes[method]}"


def _published(sections: Sequence[Section], letters: Mapping[Reference, str]) -> Iterator[str]:
    for (source, marks), letter in letters.items():
        told = f" ({', '.join(marks)})" if marks else ""
        yield f"published {letter}: {source}{told}"
    near = [text for section in sections for row in section.rows for text in _near(section, row)]
    if near:
        yield f"within the known spread of replications of the published figure: {', '.join(near)}"


def _near(section: Section, row: Row) -> Iterator[str]:
    if not row.published:
        return
    for column, cell, figure in zip(section.columns, row.cells, row.published, strict=True):
        if cell is None or figure is None:
            continue
        ours = cell.interval.mean * column.scale
        if within_spread(ours, figure, column.unit):
            yield f"{row.label} in {row.scenario} ({column.metric}, ±{figure.spread:g})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
