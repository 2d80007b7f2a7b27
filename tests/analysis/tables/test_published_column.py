"""A published figure beside ours, footnotes of the methods shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak_analysis.page import table_document
from tiebreak_analysis.published import PublishedFigure, references, within_spread
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv
from tiebreak_analysis.tables.text import latex, markdown

Write = Callable[..., str]
PAPER = "arXiv 2404.14723 v2, Table 1"


@pytest.fixture
def study(runs_dir: Path, write_run: Write) -> Path:
    for method in ("dpo", "kto"):
        write_run(method, 1, metrics={"win_rate/start": 0.6}, start_metrics={})
        write_run(method, 1, metrics={"win_rate/start": 0.6}, scenario="sft-then-align")
    return runs_dir


def test_beside_ours_with_its_marks(study: Path):
    figures = {
        ("align-from-base", "dpo", "win_rate/start"): PublishedFigure(
            59.5, "%", PAPER, ("secondary",)
        ),
        (None, "kto", "win_rate/start"): PublishedFigure(
            12.25, "%", PAPER, ("secondary", "SUSPECT"), 3
        ),
        (None, "simpo", "win_rate/start"): PublishedFigure(99, "%", PAPER),
    }
    table = comparison(load(study), metrics=["win_rate/start"], published=figures)
    text = markdown(table)
    lines = [[part.strip() for part in line.strip("|").split("|")]
             for line in text.splitlines() if line.startswith("|")]  # fmt: skip
    assert lines[0] == ["scenario", "method", "win_rate/start (%)", "published", "n"]
    by_row = {(lines[at][0], lines[at][1]): lines[at][3] for at in range(2, len(lines))}
    assert by_row["", "dpo"] == "59.5 b", "the later of the two rows: align-from-base"
    assert [line[3] for line in lines[2:]] == ["", "", "12.25 a", "", "59.5 b", "12.25 a"]
    assert f"- published a: {PAPER} (secondary, SUSPECT)" in text
    assert f"- published b: {PAPER} (secondary)" in text
    assert "99" not in text and "within the known spread" not in text
    assert r"$12.25^{\mathrm{a}}$" in latex(table)
    html = table_document(table)
    assert f'title="{PAPER}">published 12.25 (secondary, SUSPECT) <sup>a</sup></small>' in html
    assert f'title="{PAPER}">published 59.5 (secondary) <sup>b</sup></small>' in html
    assert f',59.5,%,"{PAPER}",secondary,' in csv(table)


def test_no_figure_no_column(study: Path):
    figures = {(None, "simpo", "win_rate/start"): PublishedFigure(50, "%", PAPER)}
    text = markdown(comparison(load(study), published=figures))
    assert "published" not in text


def test_inside_the_spread_of_replications(study: Path):
    figure = PublishedFigure(62, "%", PAPER, spread=2.5)
    table = comparison(load(study), published={(None, "dpo", "win_rate/start"): figure})
    (note,) = [one for one in table.notes if one.startswith("within the known spread")]
    assert note.endswith(
        ": dpo in sft-then-align (win_rate/start, ±2.5), "
        "dpo in align-from-base (win_rate/start, ±2.5)"
    )


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (PublishedFigure(62.5, "%", PAPER, spread=2.5), True),
        (PublishedFigure(62.6, "%", PAPER, spread=2.5), False),
        (PublishedFigure(62, "%", PAPER), False),
        (PublishedFigure(62, "points", PAPER, spread=9), False),
    ],
)
def test_only_like_units_are_compared(figure: PublishedFigure, expected: bool):
    assert within_spread(60.0, figure, "%") is expected


def test_the_start_model_and_a_label_have_figures_too(runs_dir: Path, write_run: Write):
    for beta in (0.1, 0.5):
        write_run("dpo", method_settings={"beta": beta})
    figures = {
        ("align-from-base", "start model", "gold/reward"): PublishedFigure(0.25, "", PAPER),
        (None, "dpo (beta=0.5)", "gold/reward"): PublishedFigure(0.75, "", PAPER),
        (None, "dpo", "gold/reward"): PublishedFigure(9.0, "", PAPER),
    }
    (section,) = comparison(load(runs_dir), published=figures).sections
    told = {row.label: row.published for row in section.rows}
    assert [one and one.value for one in told["start model"]] == [0.25, None]
    assert [one and one.value for one in told["dpo (beta=0.5)"]] == [0.75, None]
    assert told["dpo (beta=0.1)"] == (), "dpo at which beta? a figure of dpo fits no single row"


@pytest.mark.parametrize(
    "wrong", [{"value": math.nan}, {"spread": -1.0}, {"spread": math.inf}, {"source": ""}]
)
def test_a_figure_must_be_one(wrong: dict):
    with pytest.raises(ValueError, match="published value|spread"):
        PublishedFigure(**{"value": 1.0, "unit": "%", "source": PAPER, **wrong})


def test_letters_go_on_after_z():
    found = references(PublishedFigure(1, "", f"source {at}") for at in range(28))
    assert list(found.values())[24:] == ["y", "z", "aa", "ab"]


def test_footnotes_of_the_methods_shown(study: Path):
    notes = {"ipo": "a mean over tokens", "kto": "KL over the batch", "dpo": "sums"}
    table = comparison(load(study), footnotes=notes)
    told = [one for one in table.notes if one.split(":")[0] in notes]
    assert told == ["dpo: sums", "kto: KL over the batch"]
