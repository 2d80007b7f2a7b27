"""Start models and checkpoints among the single models that are compared over questions."""

from __future__ import annotations

import csv as csv_reader
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.analysis.tables.benchmark_records import write_answers, write_checkpoint
from tiebreak_analysis.page import table_document
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv, sidecar
from tiebreak_analysis.tables.table import OfModels, Table
from tiebreak_analysis.tables.text import markdown

ACC = "boolq/acc"


def answers(right: int, of: int = 200) -> np.ndarray:
    """The first `right` of them right."""
    return (np.arange(of) < right).astype(float)


def run(runs_dir: Path, method: str, right: int, scenario: str = "align-from-base", seeds: int = 1):
    for seed in range(1, seeds + 1):
        write_answers(runs_dir, method, seed, {ACC: answers(right)}, {ACC: answers(100)},
                      scenario=scenario)  # fmt: skip


def given(runs_dir: Path, name: str, right: int) -> None:
    write_checkpoint(runs_dir, name, {ACC: answers(right)})


def models(table: Table, scenario: str, label: str) -> OfModels | None:
    (section,) = table.sections
    place = [column.key for column in section.columns].index(ACC)
    (cell,) = [row.cells[place] for row in section.rows
               if (row.scenario, row.label) == (scenario, label)]  # fmt: skip
    assert cell is not None
    return cell.models


def p_of(questions: int) -> float:
    return float(binomtest(0, questions).pvalue)


def test_a_checkpoint_is_compared_with_the_models_of_every_scenario(runs_dir: Path):
    run(runs_dir, "dpo", 110)
    run(runs_dir, "dpo", 130, "align-from-instruct")
    given(runs_dir, "zephyr", 150)
    table = comparison(load(runs_dir))
    tests = table.sections[0].models
    # base: dpo and its start; instruct: the same; zephyr with all four
    assert tests.number == 2 + 4
    assert tests.scenarios == ("align-from-base", "align-from-instruct")
    there = {(pair.scenario, pair.better, pair.worse) for pair in tests.pairs}
    zephyr = "zephyr (checkpoint)"
    assert there == {
        ("align-from-base", zephyr, "start model"), ("align-from-base", zephyr, "dpo"),
        ("align-from-base", "dpo", "start model"),
        ("align-from-instruct", zephyr, "start model"), ("align-from-instruct", zephyr, "dpo"),
        ("align-from-instruct", "dpo", "start model"),
    }  # fmt: skip
    best = models(table, "checkpoint", "zephyr")
    assert best is not None and best.highest and best.p is None
    found = models(table, "align-from-instruct", "dpo")
    assert found is not None and found.differs and found.behind is not None
    assert found.behind.mean == pytest.approx(0.1)
    assert found.p == pytest.approx(2 * p_of(20)), "50, 50, 40, 30, 20 and 10 questions differ"


def test_a_checkpoint_that_is_behind_is_marked_itself(runs_dir: Path):
    run(runs_dir, "dpo", 150)
    given(runs_dir, "zephyr", 120)
    table = comparison(load(runs_dir))
    found = models(table, "checkpoint", "zephyr")
    assert found is not None and found.differs and found.p == pytest.approx(2 * p_of(30))
    text = markdown(table)
    assert "60.0‡ ± 6.8" in text, "its own interval is over questions already: no brackets"
    assert "dpo above zephyr (checkpoint) by 15.0 points" in text
    assert "nothing is said of training again" in text
    assert text.count("models: ") == 1, "a pair is told once, where the trained model stands"
    assert text.count("every checkpoint with each of these") == 1


def test_checkpoints_with_each_other_are_one_test(runs_dir: Path):
    run(runs_dir, "dpo", 100)
    run(runs_dir, "kto", 100, "align-from-instruct")
    for name, right in (("tulu", 150), ("zephyr", 130)):
        given(runs_dir, name, right)
    table = comparison(load(runs_dir))
    tests = table.sections[0].models
    assert tests.number == 2 * (1 + 2 * 2) + 1
    own = [pair for pair in tests.pairs if pair.scenario == "checkpoint"]
    assert [(pair.better, pair.worse) for pair in own] == [("tulu", "zephyr")]
    assert "**checkpoint**, models: these two models differ" in markdown(table)


def test_checkpoints_alone(runs_dir: Path):
    for name, right in (("tulu", 150), ("zephyr", 130)):
        given(runs_dir, name, right)
    table = comparison(load(runs_dir))
    assert table.sections[0].models.number == 1
    assert "tulu above zephyr by 10.0 points" in markdown(table)


def test_rows_of_three_seeds_stay_with_the_methods(runs_dir: Path):
    run(runs_dir, "dpo", 100, seeds=3)
    run(runs_dir, "kto", 120, seeds=3)
    table = comparison(load(runs_dir))
    assert table.sections[0].models.number == 0, "the start model alone is no pair"
    given(runs_dir, "zephyr", 150)
    beside = comparison(load(runs_dir))
    assert beside.sections[0].models.number == 1, "the start model and the checkpoint"
    assert models(beside, "align-from-base", "dpo") is None
    assert beside.sections[0].num_tests == table.sections[0].num_tests


def test_a_name_that_a_method_has_too(runs_dir: Path):
    run(runs_dir, "dpo", 100)
    given(runs_dir, "dpo", 150)
    text = markdown(comparison(load(runs_dir)))
    assert "dpo (checkpoint) above dpo by 25.0 points" in text


def test_the_start_model_decides_no_column(runs_dir: Path):
    """What is grey is for rows that are ranked; the start model is none."""
    run(runs_dir, "dpo", 150)
    run(runs_dir, "kto", 151)
    (section,) = comparison(load(runs_dir)).sections
    assert any("start model" in (pair.better, pair.worse) for pair in section.models.pairs)
    place = [column.key for column in section.columns].index(ACC)
    assert section.undecided(place)


def test_every_format_has_them(runs_dir: Path):
    run(runs_dir, "dpo", 150)
    given(runs_dir, "zephyr", 120)
    table = comparison(load(runs_dir))
    lines = {(line["scenario"], line["row"]): line
             for line in csv_reader.DictReader(io.StringIO(csv(table)))
             if (line["metric"], line["gain"]) == (ACC, "0")}  # fmt: skip
    assert lines["checkpoint", "zephyr"]["model_differs"] == "1"
    assert lines["align-from-base", "start model"]["model_differs"] == "1"
    told = json.loads(sidecar(table))["sections"][0]["models"]
    assert told["num_tests"] == 3 and len(told["pairs"]) == 3
    page = table_document(table)
    assert "dpo above zephyr (checkpoint) by 15.0 points" in page
    assert "this model behind the best it is compared with by 15.0 on 200 items" in page


def test_subjects_count_together_for_them_too(runs_dir: Path):
    subjects = {"mmlu": [f"subject-{at // 10:02d}" for at in range(120)]}
    own, start = {"mmlu/acc": answers(0, 120)}, {"mmlu/acc": answers(0, 120)}
    write_answers(runs_dir, "dpo", 1, own, start, subjects)
    write_checkpoint(runs_dir, "zephyr", {"mmlu/acc": answers(30, 120)}, subjects=subjects)
    table = comparison(load(runs_dir))
    (section,) = table.sections
    assert section.models.number == 3 and section.models.pairs == ()
    assert {row.cells[0].num_items for row in section.rows if row.cells[0]} == {12}
    assert "no two of these models are shown to differ" in markdown(table)


def test_an_average_of_a_checkpoint_has_its_interval_over_questions(runs_dir: Path):
    both = {ACC: answers(120), "piqa/acc": answers(100)}
    write_answers(runs_dir, "dpo", 1, both, both)
    write_checkpoint(runs_dir, "zephyr", both)
    (section,) = comparison(load(runs_dir)).sections
    cell = next(row.cells[-1] for row in section.rows if row.label == "zephyr")
    assert section.columns[-1].metric == "average" and cell is not None
    assert cell.interval.low is not None and cell.interval.n == 1
