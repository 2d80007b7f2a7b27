"""Rows with one seed or two: marks of these models alone, apart from those of methods."""

from __future__ import annotations

import csv as csv_reader
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.analysis.tables.benchmark_records import drawn, write_answers
from tiebreak_analysis.page import table_document
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.statistics import mean_interval
from tiebreak_analysis.tables import ties
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv, sidecar
from tiebreak_analysis.tables.table import Cell, Table
from tiebreak_analysis.tables.text import latex, markdown

ACC = "boolq/acc"
WriteStudy = Callable[..., dict[tuple[str, int], str]]


def cell(table: Table, label: str, key: str) -> Cell:
    section = table.sections[0]
    place = [column.key for column in section.columns].index(key)
    (found,) = [row.cells[place] for row in section.rows if row.label == label]
    assert found is not None
    return found


def answers(right: int, of: int = 200) -> np.ndarray:
    """The first `right` of them right."""
    return (np.arange(of) < right).astype(float)


def write(runs_dir: Path, right: dict[str, int], seeds: int = 1, **more: object) -> None:
    for method, number in right.items():
        for seed in range(1, seeds + 1):
            write_answers(
                runs_dir, method, seed, {ACC: answers(number)}, {ACC: answers(100)}, **more
            )


def test_mcnemar_and_its_correction(runs_dir: Path):
    write(runs_dir, {"dpo": 100, "kto": 112, "cpo": 104})
    table = comparison(load(runs_dir))
    kto, dpo, cpo, start = (
        cell(table, name, ACC).models for name in ("kto", "dpo", "cpo", "start model")
    )
    assert kto and dpo and cpo and start
    raw = [binomtest(0, n).pvalue for n in (12, 8)]  # kto with dpo and its equal, the start model
    assert dpo.p == pytest.approx(6 * raw[0]) and start.p == dpo.p
    assert cpo.p == pytest.approx(4 * raw[1])
    assert (kto.highest, kto.differs, dpo.differs, cpo.differs) == (True, False, True, True)
    models = table.sections[0].models
    assert models.number == 6, "a gain from one start is no second test"
    assert [(pair.better, pair.worse) for pair in models.pairs] == [
        ("kto", "cpo"), ("kto", "start model"), ("kto", "dpo"),
    ]  # fmt: skip
    assert dpo.behind is not None and dpo.behind.mean == pytest.approx(0.06)


def test_never_the_marks_of_methods(runs_dir: Path):
    write(runs_dir, {"dpo": 100, "kto": 140})
    table = comparison(load(runs_dir))
    assert not any(c and (c.best or c.tied or c.p is not None)
                   for row in table.sections[0].rows for c in row.cells)  # fmt: skip
    assert [v.text for v in table.sections[0].verdicts] == [
        f"no verdict on {ACC}: fewer than 3 seeds"
    ]
    text = markdown(table)
    assert "†" not in text and "**7" not in text
    assert "50.0‡ (± 7.0)" in text and "70.0 (± 6.4)" in text and "50.0‡ ± 7.0" in text
    assert "none of them is marked best or tied" in text


def test_three_seeds_have_no_model_marks(runs_dir: Path):
    write(runs_dir, {"dpo": 100, "kto": 140}, seeds=3)
    write(runs_dir, {"cpo": 60})
    table = comparison(load(runs_dir))
    assert table.sections[0].models.number == 1, "the start model and the row of one seed"
    assert cell(table, "kto", ACC).models is None
    found = cell(table, "cpo", ACC).models
    assert found is not None and found.differs
    text = markdown(table)
    assert "start model above cpo by 20.0 points" in text and "kto above" not in text


def test_the_sentence_in_every_format(runs_dir: Path):
    write(runs_dir, {"dpo": 100, "kto": 140, "cpo": 138})
    table = comparison(load(runs_dir))
    words = (
        "these pairs of models differ on these questions: in boolq/acc kto above start model by "
        "20.0 points [14.4, 25.6], kto above dpo by 20.0 points [14.4, 25.6], cpo above start "
        "model by 19.0 points [13.5, 24.5], cpo above dpo by 19.0 points [13.5, 24.5]; nothing is "
        "said of training again"
    )
    assert f"- **align-from-base**, models: {words.replace('[', '|[').replace(']', '|]')}".replace(
        "|", "\\"
    ) in markdown(table)
    text = latex(table)
    assert r"$50.0^{\ddagger}$ ($\pm 7.0$)" in text and "models: these pairs" in text
    assert all(ord(character) < 128 for character in text)
    page = table_document(table)
    assert f"models: {words}" in page and "‡" in page and 'data-model-p="' in page
    (line,) = [line for line in csv_reader.DictReader(io.StringIO(csv(table)))
               if (line["row"], line["metric"], line["gain"]) == ("dpo", ACC, "0")]  # fmt: skip
    assert (line["model_differs"], line["best"], line["p"]) == ("1", "0", "")
    assert float(line["model_behind"]) == pytest.approx(0.2) and float(line["model_p"]) < 1e-9
    told = json.loads(sidecar(table))["sections"][0]["models"]
    assert told["num_tests"] == 6
    assert [(p["better"], p["worse"]) for p in told["pairs"]] == [
        ("kto", "start model"), ("kto", "dpo"), ("cpo", "start model"), ("cpo", "dpo"),
    ]  # fmt: skip


def test_alike_models_are_said_to_be_so(runs_dir: Path):
    write(runs_dir, {"dpo": 100, "kto": 100})
    text = markdown(comparison(load(runs_dir)))
    assert "no two of these models are shown to differ on these questions" in text
    assert "100.0" not in text and "‡ " not in text


def test_one_seed_has_an_interval_over_questions_in_brackets(runs_dir: Path):
    write(runs_dir, {"dpo": 120})
    found = cell(comparison(load(runs_dir)), "dpo", ACC)
    assert found.interval.low is None and found.models is not None
    assert found.models.interval == mean_interval(answers(120))


def test_two_seeds_are_two_models(runs_dir: Path):
    write(runs_dir, {"dpo": 100, "kto": 112}, seeds=2)
    table = comparison(load(runs_dir))
    found = cell(table, "dpo", ACC)
    assert found.models is not None and found.models.p == pytest.approx(3 * binomtest(0, 12).pvalue)
    assert found.interval.low is not None and "(±" not in markdown(table)


def test_few_questions_say_nothing(runs_dir: Path):
    for method, right in (("dpo", 0), ("kto", 9)):
        values = {ACC: answers(right, 9)}
        write_answers(runs_dir, method, 1, values, values)
    table = comparison(load(runs_dir))
    assert table.sections[0].models.number == 0 and "± -" in markdown(table)
    assert "none of them is marked\n" in markdown(table)


def test_too_many_pairs_are_not_tested(runs_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ties, "MOST", 2)
    write(runs_dir, {"dpo": 100, "kto": 140, "cpo": 60})
    table = comparison(load(runs_dir))
    assert table.sections[0].models.number == 0 and "‡" not in markdown(table)
    assert "6 pairs of single models are too many to test over their questions" in table.notes


def test_subjects_are_the_items(runs_dir: Path):
    """Twelve subjects; the second model is better in three of them alone, in every question."""
    subjects = {"mmlu": [f"subject-{at // 10:02d}" for at in range(120)]}
    plain, better = answers(0, 120), answers(30, 120)
    for method, values in (("dpo", plain), ("kto", better)):
        write_answers(runs_dir, method, 1, {"mmlu/acc": values}, {"mmlu/acc": plain}, subjects)
    table = comparison(load(runs_dir))
    found = cell(table, "dpo", "mmlu/acc")
    assert found.num_items == 12 and found.models is not None and not found.models.differs
    assert found.models.p is not None and found.models.p > 0.05, "30 questions would differ"
    assert "a subject as one item: mmlu/acc (12)" in markdown(table)


def test_few_subjects_are_no_clusters(runs_dir: Path):
    subjects = {"mmlu": [f"subject-{at // 20:02d}" for at in range(120)]}
    values = {"mmlu/acc": answers(30, 120)}
    write_answers(runs_dir, "dpo", 1, values, values, subjects)
    assert cell(comparison(load(runs_dir)), "dpo", "mmlu/acc").num_items == 120


def test_rewards_of_one_seed(runs_dir: Path, write_study: WriteStudy):
    write_study({"kto": 0.9, "cpo": 0.1}, seeds=1)
    table = comparison(load(runs_dir))
    found = cell(table, "cpo", "gold/reward").models
    assert found is not None and found.differs
    assert "kto above cpo by 0." in markdown(table)


def test_tables_of_equal_models_are_seldom_marked(runs_dir: Path):
    """Twelve tables of five one-seed models; the rate itself is benchmarks/model_verdicts.py's."""
    rng = np.random.default_rng(0)
    chance = rng.beta(1, 1, 150)
    for at in range(12):
        for method in ("a", "b", "c", "d", "e"):
            values = {ACC: drawn(rng, chance, 150)}
            write_answers(runs_dir, method, 1, values, values, model=f"m{at}")
    table = comparison(load(runs_dir))
    assert len(table.sections) == 12
    assert sum(bool(section.models.pairs) for section in table.sections) <= 2
