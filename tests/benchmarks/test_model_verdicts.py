"""The simulation behind docs/statistics.md: equal models are seldom told apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import model_verdicts as sim


def test_columns_are_of_equal_models_unless_told() -> None:
    rng = np.random.default_rng(0)
    columns = sim.table(rng, 3, 2)
    assert set(columns) == {*sim.SIZES, sim.OF_SUBJECT, "average", sim.REWARD}
    assert len(columns[sim.OF_SUBJECT][0].items) == sim.SUBJECTS
    average = columns["average"][1]
    parts = [columns[name][1].mean for name in (*sim.SIZES, sim.OF_SUBJECT)]
    assert average.mean == pytest.approx(np.mean(parts))
    better = sim.table(rng, 2, 1, gap=0.4)["full"]
    assert better[0].mean - better[1].mean == pytest.approx(0.3, abs=0.15)


def test_the_family_is_the_whole_table() -> None:
    columns = sim.table(np.random.default_rng(1), 6, 2)
    assert sim.tests(columns).number == 9 * 15
    assert sim.tests(columns, 2).number == 9 * 15, "every pair, with the start model and two others"
    assert set(sim.tests(columns, 2).scenarios) == {"align", "checkpoint"}


def test_few_false_marks() -> None:
    assert sim.false_marks(25, 3, 1, 0) <= 0.12
    assert sim.false_marks(15, 2, 1, 0, checkpoints=2) <= 0.14


def test_many_marks_where_one_is_better() -> None:
    told = sim.found(3, 2, 0.3, 0)
    assert told["average"] == told["full"] == 1.0


def test_it_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.main(["--tables", "2", "--models", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    seeds = {"1 seeds a model", "2 seeds a model"}
    assert set(told["false marks"]) == seeds
    assert set(told["false marks, with the start model and 3 checkpoints"]) == seeds
    assert sim.main(["--tables", "1", "--models", "2"]) == 0
    assert "interval misses" in capsys.readouterr().out
