"""HTML and the JSON beside it: every cell leads to its runs, and no text becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tiebreak_analysis.page import table_document
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv, sidecar
from tiebreak_analysis.tables.table import Table
from tiebreak_analysis.tables.text import latex, markdown

Write = Callable[..., str]
WriteStudy = Callable[..., dict[tuple[str, int], str]]
VOID = {"meta", "link", "br", "img", "wbr"}


class Page(HTMLParser):
    """Every element with its attributes and text; what is not closed in order is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.feed(text)
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attrs}, []))
        if tag not in VOID:
            self.open.append(len(self.found) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.found[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for at in self.open:
            self.found[at][2].append(data)

    def all(self, tag: str, **having: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attrs, "".join(text))
            for name, attrs, text in self.found
            if name == tag and all(attrs.get(key) == value for key, value in having.items())
        ]


@pytest.fixture
def study(runs_dir: Path, write_study: WriteStudy) -> Table:
    ids = write_study({"kto": 0.8, "dpo": 0.795, "cpo": 0.5})
    for run_id in ids.values():
        path = runs_dir / run_id / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["hashes"] |= {"model": "1" * 64, "tokens": "2" * 64}
        manifest |= {"git": {"commit": "c" * 40, "dirty": True}, "versions": {"torch": "2.13.0"}}
        path.write_text(json.dumps(manifest))
    return comparison(load(runs_dir), command="tiebreak table x")


def test_cells_say_their_numbers_and_lead_to_their_runs(study: Table):
    page = Page(table_document(study).split("\n", 1)[1])
    row = next(row for row in study.sections[0].rows if row.label == "cpo")
    cell = row.cells[0]
    assert cell is not None
    ((attrs, text),) = page.all("td", **{"data-value": repr(cell.interval.mean)})
    assert text == f"{cell.interval.mean:.3f}± {cell.interval.half_width:.3f}"
    assert attrs["data-runs"].split() == list(cell.run_ids)
    assert (attrs["data-seeds"], attrs["data-items"]) == ("5", "40")
    assert float(attrs["data-low"]) == cell.interval.low
    assert float(attrs["data-p"]) == cell.p
    assert "behind the best by 0.3" in attrs["title"] and "(5 seeds, 40 items)" in attrs["title"]
    links = {attrs["href"] for attrs, _ in page.all("a")}
    anchors = {attrs["id"] for name, attrs, _ in page.found if "id" in attrs}
    assert links == {f"#{anchor}" for anchor in anchors} and len(anchors) == 3


def test_marks(study: Table):
    page = Page(table_document(study).split("\n", 1)[1])
    best = [
        column.text(cell.interval.mean, signed=column.gain)
        for row in study.sections[0].rows
        for column, cell in zip(study.sections[0].columns, row.cells, strict=True)
        if cell is not None and cell.best
    ]
    assert len(best) == 3 and [text for _, text in page.all("strong")] == [*best, "bold"]
    cells = [cell for row in study.sections[0].rows for cell in row.cells if cell is not None]
    assert len(page.all("td", **{"class": "number best"})) == 3
    tied = sum(cell.tied for cell in cells)
    assert len(page.all("td", **{"class": "number tied"})) == tied >= 3
    assert table_document(study).split("\n", 1)[1].count("†") == tied + 3, (
        "and in the key and two notes"
    )


def test_provenance_has_every_run(study: Table):
    page = Page(table_document(study).split("\n", 1)[1])
    lines = [text for _, text in page.all("tr")]
    for row in study.sections[0].rows:
        for run_id in row.run_ids:
            assert sum(line.startswith(run_id) for line in lines) == 1
    titles = [attrs["title"] for attrs, _ in page.all("code") if "title" in attrs]
    record = study.records[0]
    for full in ("c" * 40, "1" * 64, "d" * 64, "e" * 64, record.start_model):
        assert full in titles
    assert any("cccccccc + changes" in line for line in lines)
    assert any(record.group_id in line for line in lines)


def test_a_page_stands_alone(study: Table):
    text = table_document(study)
    assert text.startswith("<!doctype html>")
    page = Page(text.split("\n", 1)[1])
    assert {name for name, _, _ in page.found} & {"script", "link", "img", "iframe"} == set()
    assert "http://" not in text and "https://" not in text and "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert page.all("title") == [({}, "tiebreak table x")]
    assert [text for _, text in page.all("h3")][:1] == [study.sections[0].title]
    ((policy, _),) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    ((_, style),) = page.all("style")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy["content"]


def test_text_stays_text(runs_dir: Path, write_run: Write):
    nasty = "<script>alert('x')</script>\"&"
    write_run(nasty, model=nasty, data=nasty, scenario=nasty, data_hash=nasty)
    table = comparison(load(runs_dir), command=nasty, footnotes={nasty: nasty})
    text = table_document(table)
    assert "<script" not in text
    page = Page(text.split("\n", 1)[1])
    assert page.all("title") == [({}, nasty)]
    names = [label for attrs, label in page.all("th", scope="row") if "class" in attrs]
    assert names == ["start model", nasty]
    assert [label for _, label in page.all("th", scope="rowgroup")] == [nasty]


def test_the_sidecar_has_the_exact_numbers(study: Table):
    told = json.loads(sidecar(study))
    assert (told["format"], told["command"], told["level"]) == (1, "tiebreak table x", 0.95)
    (section,) = told["sections"]
    assert section["verdicts"][0]["best"] == "kto" and section["num_tests"] == 6
    for row, line in zip(study.sections[0].rows, section["rows"], strict=True):
        assert line["label"] == row.label
        for column, cell in zip(study.sections[0].columns, row.cells, strict=True):
            if cell is None:
                assert column.key not in line["cells"]
                continue
            found = line["cells"][column.key]
            i = cell.interval
            assert (found["mean"], found["low"], found["high"]) == (i.mean, i.low, i.high)
            assert (found["best"], found["tied"], found["p_adjusted"]) == (
                cell.best, cell.tied, cell.p,
            )  # fmt: skip
            assert len(found["values"]) == len(found["seeds"]) == cell.num_seeds
            for run_id in found["run_ids"]:
                run = told["runs"][run_id]
                assert (run["commit"], run["dirty"]) == ("c" * 40, True)
                assert (run["model"], run["tokens"]) == ("1" * 64, "2" * 64)
                assert {"group_id", "seed", "data", "evaluation", "start_model"} <= set(run)
    assert list(told) == sorted(told)


def test_the_sidecar_agrees_with_the_html(study: Table):
    page = Page(table_document(study).split("\n", 1)[1])
    shown = sorted(
        float(attrs["data-value"]) for attrs, _ in page.all("td") if "data-runs" in attrs
    )
    (section,) = json.loads(sidecar(study))["sections"]
    told = sorted(cell["mean"] for row in section["rows"] for cell in row["cells"].values())
    assert shown == told


def test_the_same_bytes_wherever_the_records_lie(runs_dir: Path, study: Table, tmp_path: Path):
    folders = sorted(runs_dir.iterdir())
    random.Random(0).shuffle(folders)
    for folder in folders:
        shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    other = comparison(load(tmp_path / "elsewhere"), command="tiebreak table x")
    for write in (markdown, latex, csv, table_document, sidecar):
        assert write(other) == write(study)
        assert str(tmp_path) not in write(other)
