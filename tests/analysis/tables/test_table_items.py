"""Cells from per-item files: which values, checked against the run's own result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import measured
from tests.analysis.tables.conftest import put_items
from tiebreak.metrics import evaluation_metric
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.statistics import mean_interval
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.table import Cell, Table

Write = Callable[..., str]
BEFORE = np.array([0.0, 0.1, 0.3, 0.4])


def cell(table: Table, row: int, column: int) -> Cell:
    found = table.sections[0].rows[row].cells[column]
    assert found is not None
    return found


def notes(table: Table) -> str:
    return "\n".join(table.notes)


def test_seeds_and_items_make_the_interval(runs_dir: Path, write_measured: Write):
    """Two seeds alike in the mean: over seeds alone the interval would have no width."""
    write_measured("dpo", 1, BEFORE + 0.1, BEFORE)
    write_measured("dpo", 2, BEFORE[::-1] + 0.1, BEFORE)
    table = comparison(load(runs_dir))
    dpo = cell(table, 1, 0)
    assert (dpo.num_seeds, dpo.num_items, dpo.interval.n) == (2, 4, 2)
    assert dpo.interval.mean == pytest.approx(0.3)
    assert dpo.interval.half_width is not None and dpo.interval.half_width > 0.1
    gain = cell(table, 1, 1)
    np.testing.assert_allclose(gain.sample.values[0], 0.1)
    np.testing.assert_allclose(gain.sample.values[1], BEFORE[::-1] + 0.1 - BEFORE)
    wins = cell(table, 1, 2)
    np.testing.assert_array_equal(wins.sample.values, [[1, 1, 1, 1], [1, 1, 0, 0]])
    assert "the mean over seeds and test items;" in notes(table)


def test_one_start_model_has_an_interval_over_items(runs_dir: Path, write_measured: Write):
    write_measured("dpo", 1, BEFORE + 0.1, BEFORE)
    write_measured("dpo", 2, BEFORE + 0.2, BEFORE)
    table = comparison(load(runs_dir))
    start = cell(table, 0, 0)
    expected = mean_interval(BEFORE.tolist())
    assert (start.interval.mean, start.interval.low) == (expected.mean, expected.low)
    assert (start.interval.n, table.sections[0].rows[0].n, start.num_items) == (1, 1, 4)
    assert "of a single start model over items" in notes(table)


def test_a_start_model_per_seed_is_a_sample_of_models(runs_dir: Path, write_measured: Write):
    for seed in (1, 2, 3):
        write_measured("dpo", seed, BEFORE + 1, BEFORE + seed, scenario="sft-then-align")
    start = cell(comparison(load(runs_dir)), 0, 0)
    assert start.sample.seeds == (1, 2, 3) and start.sample.values.shape == (3, 4)
    assert start.interval.mean == pytest.approx(2.2)


def test_one_seed_has_no_interval_however_many_items(runs_dir: Path, write_measured: Write):
    write_measured("dpo", 1, BEFORE + 0.1, BEFORE)
    assert cell(comparison(load(runs_dir)), 1, 0).interval.low is None


def test_items_whose_mean_is_not_the_metric_are_not_used(runs_dir: Path, write_measured: Write):
    ids = [write_measured("dpo", seed, BEFORE + seed / 10, BEFORE) for seed in (1, 2, 3)]
    write_measured("kto", 1, BEFORE, BEFORE)
    result = measured(runs_dir / ids[1]) / "result.json"
    told = json.loads(result.read_text())
    told["metrics"]["gold/reward"] = 0.5
    result.write_text(json.dumps(told))
    table = comparison(load(runs_dir))
    dpo = cell(table, 1, 0)
    assert dpo.num_items == 0
    np.testing.assert_allclose(dpo.sample.values, [0.3, 0.5, 0.5])
    why = "result.json has gold/reward 0.5, the mean of its items is 0.4"
    assert f"judged over seeds alone: {ids[1]} ({why})" in notes(table)
    assert cell(table, 2, 0).num_items == 4
    assert "over seeds alone: gain in gold/reward, gold/reward" in notes(table)


def test_a_start_whose_items_disagree_is_named(runs_dir: Path, write_measured: Write):
    run_id = write_measured("dpo", 1, BEFORE + 0.1, BEFORE)
    result = measured(runs_dir / run_id) / "result.json"
    result.write_text(result.read_text().replace(repr(float(BEFORE.mean())), "0.7"))
    table = comparison(load(runs_dir))
    assert f"{run_id} (result.json has gold/reward of the start model 0.7" in notes(table)


def test_runs_with_other_items_are_not_mixed(runs_dir: Path, write_measured: Write):
    write_measured("dpo", 1, BEFORE, BEFORE)
    write_measured("dpo", 2, BEFORE, BEFORE)
    other = write_measured("dpo", 3, BEFORE, BEFORE)
    path = measured(runs_dir / other) / "items" / "gold.parquet"
    frame = pd.read_parquet(path)
    frame["id"] = "another-" + frame["id"]
    frame.to_parquet(path)
    table = comparison(load(runs_dir))
    assert cell(table, 1, 0).num_items == 0 and cell(table, 1, 0).num_seeds == 3
    assert f"{other} (its items of gold/reward are not those of the other runs)" in notes(table)


def test_a_run_without_items_among_others_is_named(
    runs_dir: Path, write_measured: Write, write_run: Write
):
    write_measured("dpo", 1, BEFORE, BEFORE)
    bare = write_run("dpo", 2)
    table = comparison(load(runs_dir))
    assert cell(table, 1, 0).num_items == 0
    assert f"{bare} (it has no items of gold/reward)" in notes(table)


def test_a_damaged_file_is_named(runs_dir: Path, write_measured: Write):
    ids = [write_measured("dpo", seed, BEFORE, BEFORE) for seed in (1, 2)]
    (measured(runs_dir / ids[0]) / "items" / "gold.parquet").write_bytes(b"PAR1 torn")
    table = comparison(load(runs_dir))
    assert f"{ids[0]} (items/gold.parquet cannot be read" in notes(table)
    assert cell(table, 1, 0).num_items == 0


def test_records_without_item_files_need_no_note(runs_dir: Path, write_run: Write):
    write_run("dpo")
    assert "item" not in notes(comparison(load(runs_dir)))


PAIRS = {
    "id": ["a", "b", "c", "d"],
    "logp/chosen/before": [-1.0, -2.0, -3.0, -4.0],
    "logp/chosen/after": [-2.0, -1.0, -3.0, -9.0],
    "logp/rejected/before": [-2.0, -1.0, -3.0, -5.0],
    "logp/rejected/after": [-3.0, -2.0, -3.0, -8.0],
    "length/chosen": [1, 1, 1, 9],
    "length/rejected": [1, 1, 1, 4],
    "drift/chosen": [-1.0, 1.0, 0.0, -5.0],
    "drift/rejected": [-1.0, -1.0, 0.0, -3.0],
}


@pytest.mark.parametrize(
    ("metric", "before", "after"),
    [
        ("accuracy/likelihood", [1, 0, 0.5, 1], [1, 1, 0.5, 0]),
        ("accuracy/likelihood_per_token", [1, 0, 0.5, 1], [1, 1, 0.5, 1]),
        ("accuracy/drift", None, [0.5, 1, 0.5, 0]),
        ("displaced/share", None, [1, 0, 0, 1]),
        ("drift/chosen", None, [-1, 1, 0, -5]),
        ("drift/rejected", None, [-1, -1, 0, -3]),
    ],
)
def test_metrics_of_pairs(
    runs_dir: Path, write_run: Write, metric: str, before: list | None, after: list
):
    """By hand; ties count half, as the evaluation counts them."""
    start = {} if before is None else {metric: np.mean(before)}
    run_id = write_run(metrics={metric: np.mean(after)}, start_metrics=start)
    put_items(runs_dir / run_id, PAIRS, "pairs.parquet")
    table = comparison(load(runs_dir), metrics=[metric])
    np.testing.assert_array_equal(cell(table, 1, 0).sample.values, [after])
    if before is not None:
        np.testing.assert_array_equal(cell(table, 0, 0).sample.values, [before])
    assert "not used" not in notes(table)


def test_rows_of_one_side_are_no_items(runs_dir: Path, write_run: Write):
    """Unpaired data: a row is a chosen or a rejected response."""
    run_id = write_run(metrics={"drift/chosen": -1.5, "displaced/share": 0.5})
    columns = {"id": ["a", "b", "c"], "drift/chosen": [-4.0, None, 1.0]}
    put_items(runs_dir / run_id, columns, "pairs.parquet")
    table = comparison(load(runs_dir), metrics=["drift/chosen", "displaced/share"])
    assert cell(table, 1, 0).sample.items == ("a", "c")
    np.testing.assert_array_equal(cell(table, 1, 1).sample.values, [[1, 0]])


def test_kl_has_no_items():
    assert evaluation_metric("kl/reference").item_columns("after") == ()
    assert evaluation_metric("win_rate/start").item_columns("before") == ()
