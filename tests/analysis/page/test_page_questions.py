"""Benchmarks question by question: what the page holds of them, and how small."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.analysis.tables.benchmark_records import drawn, write_answers, write_checkpoint
from tiebreak_analysis.page.page import write
from tiebreak_analysis.page.questions import names_of, packed, questions
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison

BOOLQ, MMLU = "boolq/acc", "mmlu/acc"


def sheet(told: dict[str, Any], at: int, count: int) -> list[int]:
    raw = np.frombuffer(base64.b64decode(told["bits"][at]), dtype=np.uint8)
    return np.unpackbits(raw)[:count].tolist()


def test_names_come_back() -> None:
    ids = ["0", "1", "2", "5", "law/3", "law/4", "art/0", "odd name", "07", "x/y/10", "x/y/11"]
    assert packed(ids) == [
        ["", "0-2 5"], ["law/", "3-4"], ["art/", "0"], ["odd name"], ["07"], ["x/y/", "10-11"],
    ]  # fmt: skip
    assert names_of(packed(ids)) == ids and names_of(packed([])) == []


def test_each_model_has_a_sheet_of_answers(runs_dir: Path) -> None:
    rng = np.random.default_rng(0)
    before = {BOOLQ: drawn(rng, 0.5, 37)}
    after = {name: {BOOLQ: drawn(rng, 0.5, 37)} for name in ("dpo", "kto")}
    ids = {name: write_answers(runs_dir, name, 1, after[name], before) for name in after}
    told = questions(load(runs_dir), list(ids.values()))
    (benchmark,) = told["benchmarks"]
    assert (benchmark["metric"], benchmark["count"]) == (BOOLQ, 37)
    assert names_of(benchmark["ids"]) == [str(at) for at in range(37)]
    assert len(told["bits"]) == 3, "both have one start model"
    for name, key in ids.items():
        start, own = benchmark["runs"][key]
        assert sheet(told, own, 37) == after[name][BOOLQ].tolist()
        assert sheet(told, start, 37) == before[BOOLQ].tolist()


def test_other_questions_and_shares_are_left_out(runs_dir: Path) -> None:
    some, more = {BOOLQ: np.ones(20)}, {BOOLQ: np.ones(21)}
    half = {MMLU: np.full(20, 0.5)}
    ids = {
        "a": write_answers(runs_dir, "a", 1, some | half, some | half),
        "b": write_answers(runs_dir, "b", 1, more, more),
        "c": write_answers(runs_dir, "c", 1, some, {BOOLQ: np.full(20, 0.5)}),
    }
    (benchmark,) = questions(load(runs_dir), list(ids.values()))["benchmarks"]
    assert set(benchmark["runs"]) == {ids["a"], ids["c"]} and benchmark["runs"][ids["c"]][0] is None


def test_a_checkpoint_has_its_own_sheet_alone(runs_dir: Path) -> None:
    key = write_checkpoint(runs_dir, "zephyr", {BOOLQ: np.ones(20)})
    (benchmark,) = questions(load(runs_dir), [key])["benchmarks"]
    start, own = benchmark["runs"][key]
    assert start is None and own is not None


def test_ten_models_on_many_questions_stay_small(runs_dir: Path) -> None:
    rng = np.random.default_rng(0)
    subjects = [f"a_long_name_of_subject_{at // 100:03d}" for at in range(14000)]
    before = {MMLU: drawn(rng, 0.5, 14000)}
    ids = [
        write_answers(
            runs_dir, f"m{at}", 1, {MMLU: drawn(rng, 0.5, 14000)}, before, {"mmlu": subjects}
        )
        for at in range(10)
    ]
    assert len(json.dumps(questions(load(runs_dir), ids))) < 30_000


def test_the_page_holds_them(runs_dir: Path) -> None:
    values = {BOOLQ: np.ones(20)}
    write_answers(runs_dir, "dpo", 1, values, values)
    runs = load(runs_dir)
    page = write("x", runs, [comparison(runs)])
    assert '"questions"' in page and 'id="questions"' in page and "function questions()" in page
