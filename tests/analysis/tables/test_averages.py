"""The average over benchmarks, and each column's signal-to-noise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.tables.benchmark_records import Answers, drawn, write_answers
from tiebreak.metrics import reported
from tiebreak_analysis.page import table_document
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import sidecar
from tiebreak_analysis.tables.table import Table
from tiebreak_analysis.tables.text import latex, markdown

BOOLQ, ARC, GSM = "boolq/acc", "arc_easy/acc_norm", "gsm8k/exact_match-strict-match"
WriteRun = Callable[..., str]


def made(rng: np.random.Generator, gain: float, sizes: dict[str, int]) -> Answers:
    return {name: drawn(rng, 0.5 + gain, size) for name, size in sizes.items()}


def write(runs_dir: Path, gains: dict[str, float], seeds: int = 3, **sizes: int) -> None:
    rng, names = np.random.default_rng(1), {BOOLQ: 200, ARC: 100}
    before = made(rng, 0, names)
    for method, gain in gains.items():
        for seed in range(1, seeds + 1):
            write_answers(runs_dir, method, seed, made(rng, gain, names), before)


def keys(table: Table) -> list[str]:
    return [column.key for column in table.sections[0].columns]


def test_each_benchmark_counts_once(runs_dir: Path):
    write(runs_dir, {"dpo": 0, "kto": 0.3})
    table = comparison(load(runs_dir))
    assert keys(table) == [ARC, f"gain:{ARC}", BOOLQ, "average"]
    for row in table.sections[0].rows:
        arc, _, boolq, mean = row.cells
        assert arc and boolq and mean
        expected = (arc.interval.mean + boolq.interval.mean) / 2
        assert mean.interval.mean == pytest.approx(expected)
        assert mean.interval.low is not None and mean.num_items == 300
    note = f"average: the mean of 2 benchmarks that every row has, .*: {ARC}, {BOOLQ}"
    assert any(re.match(note, line) for line in table.notes)
    assert json.loads(sidecar(table))["sections"][0]["averaged"] == [ARC, BOOLQ]


def test_it_is_marked_like_any_column(runs_dir: Path):
    write(runs_dir, {"dpo": 0, "kto": 0.4, "cpo": 0.4}, seeds=8)
    rows = {row.label: row.cells[-1] for row in comparison(load(runs_dir)).sections[0].rows}
    dpo, kto, cpo = rows["dpo"], rows["kto"], rows["cpo"]
    assert dpo and kto and cpo
    assert dpo.p is not None and dpo.p < 0.05 and not dpo.tied
    assert (kto.best, cpo.tied) == (True, True) or (cpo.best, kto.tied) == (True, True)


def test_one_seed_has_an_average_of_the_model(runs_dir: Path):
    write(runs_dir, {"dpo": 0, "kto": 0.4}, seeds=1)
    table = comparison(load(runs_dir))
    dpo = table.sections[0].rows[1].cells[-1]
    assert dpo is not None and dpo.models is not None and dpo.models.differs
    assert "differ on these questions: in average kto above " in markdown(table)
    assert "kto above dpo by" in markdown(table)


def test_only_benchmarks_that_every_row_has(runs_dir: Path):
    write(runs_dir, {"dpo": 0})
    rng = np.random.default_rng(2)
    sizes = {BOOLQ: 200, ARC: 100, GSM: 50}
    before = made(np.random.default_rng(1), 0, {BOOLQ: 200, ARC: 100}) | {GSM: np.zeros(50)}
    for seed in (1, 2, 3):
        write_answers(runs_dir, "kto", seed, made(rng, 0, sizes), before)
    section = comparison(load(runs_dir)).sections[0]
    assert section.averaged == (ARC, BOOLQ) and section.columns[-1].metric == "average"
    assert GSM in [column.metric for column in section.columns]


def test_one_benchmark_has_no_average(runs_dir: Path, write_run: WriteRun):
    write_run(metrics={BOOLQ: 0.5}, start_metrics={BOOLQ: 0.5})
    assert "average" not in keys(comparison(load(runs_dir)))


def test_two_metrics_of_one_task_are_one_benchmark(runs_dir: Path, write_run: WriteRun):
    both = {GSM: 0.2, "gsm8k/exact_match-flexible-extract": 0.3}
    write_run("dpo", metrics=both, start_metrics=both)
    assert "average" not in keys(comparison(load(runs_dir)))
    write_run("kto", metrics=both | {BOOLQ: 0.5}, start_metrics=both, model="other")
    with_start = both | {BOOLQ: 0.5}
    write_run("kto", metrics=with_start, start_metrics=with_start, model="third")
    sections = comparison(load(runs_dir)).sections
    averaged = {section.model: section.averaged for section in sections}
    assert averaged["third"] == (BOOLQ, GSM), "the strict match, though another comes before it"
    assert averaged["other"] == (), "its start model has no boolq"


@pytest.mark.parametrize(
    ("task", "metrics", "stands"),
    [
        ("arc_easy", ("acc", "acc_norm"), "acc_norm"),
        ("piqa", ("acc_norm", "acc"), "acc"),
        ("gsm8k", ("exact_match-flexible-extract", "exact_match-strict-match"),
         "exact_match-strict-match"),
        ("gsm8k", ("exact_match-flexible-extract",), "exact_match-flexible-extract"),
        ("ifeval", ("inst_level_strict_acc", "prompt_level_loose_acc", "prompt_level_strict_acc"),
         "prompt_level_strict_acc"),
        ("other", ("exact_match-a", "exact_match-b"), None),
    ],
)  # fmt: skip
def test_which_metric_stands_for_a_benchmark(task: str, metrics: tuple[str, ...], stands: str):
    names = [f"{task}/{name}" for name in metrics]
    assert reported(task, names) == (None if stands is None else f"{task}/{stands}")


def test_records_without_items_have_an_average_by_seed(runs_dir: Path, write_run: WriteRun):
    for seed in (1, 2, 3):
        values = {BOOLQ: 0.5 + seed / 100, ARC: 0.3}
        write_run("dpo", seed, metrics=values, start_metrics=values)
    mean = comparison(load(runs_dir)).sections[0].rows[1].cells[-1]
    assert mean is not None and mean.num_items == 0
    assert mean.interval.mean == pytest.approx(0.41)


def test_signal_to_noise_is_the_last_row(runs_dir: Path):
    write(runs_dir, {"dpo": 0, "kto": 0.4, "cpo": 0.2})
    table = comparison(load(runs_dir))
    section = table.sections[0]
    assert all(value is not None and value > 2 for value in section.signal)
    (line,) = [line for line in markdown(table).splitlines() if "| signal-to-noise " in line]
    found = [cell.strip() for cell in line.strip("|").split("|")]
    assert found == ["", "signal-to-noise", *(f"{value:.1f}" for value in section.signal), ""]
    assert " & signal-to-noise & " in latex(table)
    page = table_document(table)
    assert "<tfoot>" in page and 'class="number undecided"' not in page
    told = json.loads(sidecar(table))["sections"][0]["columns"]
    assert [column["signal_to_noise"] for column in told] == list(section.signal)


def test_a_column_that_cannot_decide_is_grey(runs_dir: Path):
    write(runs_dir, {"dpo": 0, "kto": 0.01, "cpo": 0})
    table = comparison(load(runs_dir))
    weak = [column.key for at, column in enumerate(table.sections[0].columns)
            if table.sections[0].undecided(at)]  # fmt: skip
    assert BOOLQ in weak
    (note,) = [note for note in table.notes if note.startswith("cannot decide")]
    assert all(key.replace("gain:", "gain in ") in note for key in weak)
    page = table_document(table)
    assert 'class="number undecided"' in page and "grey: the column cannot decide" in page


def test_no_items_or_one_row_give_no_ratio(runs_dir: Path, write_run: WriteRun):
    for seed in (1, 2, 3):
        write_run("dpo", seed, seed / 10)
        write_run("kto", seed, seed / 9)
    table = comparison(load(runs_dir))
    assert set(table.sections[0].signal) == {None} and "signal" not in markdown(table)
    assert "<tfoot>" not in table_document(table)


def test_one_method_gives_no_ratio(runs_dir: Path):
    write(runs_dir, {"dpo": 0.1})
    assert set(comparison(load(runs_dir)).sections[0].signal) == {None}
