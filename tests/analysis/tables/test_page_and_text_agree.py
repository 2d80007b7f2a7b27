"""The page's table and the text table: the same rows, and the same in every cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.conftest import write_record
from tests.analysis.tables.benchmark_records import drawn, write_answers, write_checkpoint
from tiebreak_analysis.page import table_document, write
from tiebreak_analysis.published import PublishedFigure
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Table
from tiebreak_analysis.tables.text import markdown

BOOLQ, ARC, REWARD = "boolq/acc", "arc_easy/acc_norm", "gold/reward"
VOID = {"meta", "link", "wbr"}
Cells = list[list[str]]
WriteStudy = Callable[..., dict[tuple[str, int], str]]


class Board(HTMLParser):
    """The leaderboards of a page, as rows of text; **bold** as Markdown has it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[Cells] = []
        self._open: list[str] = []
        self._inside = self._drawing = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("class") or ""
        if tag == "table":
            self._inside = kind == "leaderboard"
            self.tables += [[]] if self._inside else []
        if not self._inside or tag in VOID:
            return
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self._drawing = kind == "drawing"
            self.tables[-1][-1] += [] if self._drawing else [""]
        self._put(" " if tag in ("span", "small") else "**" if tag == "strong" else "")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag not in VOID:
            self._open.pop()
            self._put("**" if tag == "strong" else "")
            self._inside = tag != "table"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._put(data)

    def _put(self, text: str) -> None:
        if {"th", "td"} & set(self._open) and not self._drawing:
            self.tables[-1][-1][-1] += text


def of_page(text: str) -> list[Cells]:
    """By section, the rows: heading, then scenario, label, cells, n."""
    told = []
    for rows in Board(text).tables:
        found = [["scenario", *map(_plain, rows[0])]]
        scenario = ""
        for row in rows[1:]:
            if len(row) == 1:
                scenario = _plain(row[0])
            else:
                last = row[0] == "signal-to-noise"
                found.append(["" if last else scenario, *map(_plain, row)])
        told.append(found)
    return told


def of_text(text: str) -> list[Cells]:
    """The same of the Markdown, a published figure put below ours as the page has it."""
    told: list[Cells] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[one.strip() for one in re.split(r"(?<!\\)\|", line.strip("|\n"))]
                 for line in block.splitlines()]  # fmt: skip
        head, _, *body = lines
        rows, scenario = [[one for one in head if one != "published"]], ""
        for line in body:
            cells = [scenario := line[0] or scenario, line[1]]
            if line[1] == "signal-to-noise":
                cells[0] = ""
            for name, value in zip(head[2:], line[2:], strict=True):
                if name != "published":
                    cells.append(value)
                elif value:
                    cells[-1] = f"{cells[-1]} published {value}"
            rows.append(cells)
        told.append([[_plain(re.sub(r"\\(.)", r"\1", one)) for one in row] for row in rows])
    return told


def _plain(text: str) -> str:
    """Without what is typography: where spaces stand, what kind of dash is no number."""
    text = re.sub(r"\(n=(\d+)\)", r"n=\1", text.replace("–", "-"))
    text = re.sub(r"published (\S+).* (\w+)$", r"published \1 \2", text)
    return re.sub(r"\s+", "", text)


def agree(table: Table, page: str) -> int:
    """How many cells were held against each other."""
    ours, theirs = of_page(page), of_text(markdown(table))
    assert ours == theirs
    return sum(len(row) for rows in ours for row in rows)


@pytest.fixture
def rich(runs_dir: Path, write_study: WriteStudy) -> Table:
    """Bold, ties, gains, missing and short rows, one seed, checkpoints, subjects, averages,
    published figures, two sections."""
    write_study({"kto": 0.8, "dpo": 0.795, "cpo": 0.5})
    write_study({"ipo": 0.4}, seeds=2, scenario="sft-then-align")
    write_record(runs_dir, "simpo", scenario="sft-then-align")
    rng = np.random.default_rng(3)
    subjects = {"arc_easy": [f"s{at % 12}" for at in range(120)]}

    def answers(chance: float) -> dict[str, np.ndarray]:
        return {BOOLQ: drawn(rng, chance, 200), ARC: drawn(rng, chance, 120)}

    for scenario in ("align-from-base", "align-from-instruct"):
        start = answers(0.5)
        for method, chance in (("dpo", 0.9), ("kto", 0.5)):
            write_answers(runs_dir, method, 1, answers(chance), start, subjects,
                          scenario=scenario, model="other")  # fmt: skip
    write_checkpoint(runs_dir, "zephyr_7b", answers(0.2), subjects=subjects)
    runs = load(runs_dir)
    planned = [Planned.of(record) for record in runs.records]
    planned += [Planned("f" * 12, "f" * 12, "tiny", "world", "align-from-base", "rpo",
                        planned[0].material, planned[0].evaluation)]  # fmt: skip
    short = next(run for run in planned if run.method == "ipo")
    planned.append(Planned("e" * 12, short.group_id, short.model, short.data, short.scenario,
                           short.method, short.material, short.evaluation))  # fmt: skip
    figures = {
        (None, "dpo", BOOLQ): PublishedFigure(59.5, "%", "a paper", ("secondary",)),
        (None, "start model", BOOLQ): PublishedFigure(1.25, "", "another paper"),
    }
    return comparison(runs, planned=planned, published=figures)


def test_the_page_has_what_the_text_has(rich: Table, runs_dir: Path) -> None:
    text = markdown(rich)
    for mark in ("**", "†", "‡", "(±", "± -", "missing", "2 of 3", "average", "published", "a |"):
        assert mark in text, f"{mark!r}: not tried here"
    assert agree(rich, write("rich", load(runs_dir), [rich])) >= 140
    agree(rich, table_document(rich))


def test_a_cell_of_fewer_runs(runs_dir: Path, write_study: WriteStudy) -> None:
    ids = write_study({"kto": 0.8, "dpo": 0.7}, seeds=4)
    runs = load(runs_dir)
    fewer = [r for r in runs.records if r.run_id == ids["dpo", 4]][0]
    del fewer.metrics["win_rate/start"]  # ty: ignore[not-subscriptable]
    table = comparison(runs)
    assert "(n=3)" in markdown(table)
    agree(table, table_document(table))


def test_a_grey_column_has_the_same_cells(runs_dir: Path, write_study: WriteStudy) -> None:
    write_study({"kto": 0.8, "dpo": 0.8}, noise=0.3)
    table = comparison(load(runs_dir))
    assert any(table.sections[0].undecided(at) for at in range(len(table.sections[0].columns)))
    agree(table, table_document(table))


def test_the_sentences_are_the_same(rich: Table) -> None:
    page = re.findall(r"<li[^>]*><b>(.*?)</b>(.*?)</li>", table_document(rich))
    said = {f"{scenario}{re.sub(r' [(].* · evaluation .*?[)]', '', text, count=1)}"
            for scenario, text in page}  # fmt: skip
    lines = re.findall(r"^- \*\*(.*)\*\*(.*)$", markdown(rich), re.MULTILINE)
    assert {re.sub(r"\\(.)", r"\1", f"{scenario}{text}") for scenario, text in lines} == said
    assert len(said) > 4


def test_a_difference_would_be_seen(rich: Table) -> None:
    page = table_document(rich)
    assert agree(rich, page)
    (mean, *_) = re.findall(r'<td class="number[^>]*><span>([\d.]+)</span>', page)
    for other in (f"{mean}1", ""):
        with pytest.raises(AssertionError):
            agree(rich, page.replace(f"<span>{mean}</span>", f"<span>{other}</span>", 1))
    with pytest.raises(AssertionError):
        agree(rich, page.replace("<strong>", "<span>").replace("</strong>", "</span>"))
