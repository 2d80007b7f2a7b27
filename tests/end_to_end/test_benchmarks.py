"""Benchmarks of lm-eval on a finished run: each is measured alone, and stands in the table."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.commands import MICRO, Command, evaluation_of, read_json
from tests.harness.made import make_mirror


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return make_mirror(tmp_path / "mirror")


def test_a_benchmark_is_added_to_a_finished_run(
    home: Path, tiebreak: Command, mirror: Path
) -> None:
    place = f"evaluation.mirror={mirror}"
    before = {p: p.stat().st_mtime_ns for p in (home / "artefacts").glob("*/[0-9a-f]*")}
    one = tiebreak("run", *MICRO, "evaluation.benchmarks=[winogrande@2]", place)
    assert one.code == 0, one.err
    # On the start model, on the policy, and what the questions share with the training data.
    assert "stages: 3 built" in one.out and "winogrande/acc " in one.out
    two = tiebreak("run", *MICRO, "evaluation.benchmarks=[winogrande@2,mmlu_anatomy]", place)
    assert "stages: 3 built" in two.out and two.record == one.record
    again = tiebreak("run", *MICRO, "evaluation.benchmarks=[mmlu_anatomy,winogrande@2]", place)
    assert "this run is done" in again.out
    assert {p: p.stat().st_mtime_ns for p in before} == before, "nothing was trained again"

    folder = evaluation_of(one.record)
    metrics = read_json(folder / "result.json")["metrics"]
    items = pq.read_table(folder / "items" / "winogrande.parquet").to_pydict()
    assert len(items["id"]) == 12
    assert metrics["winogrande/acc"] == pytest.approx(sum(items["acc/after"]) / 12)
    table = tiebreak("table").out
    assert "winogrande/acc (%)" in table and "mmlu_anatomy/acc (%)" in table
    assert "gold/reward" in table, "what was measured before is still there"


def test_mistakes_end_in_one_line(home: Path, tiebreak: Command, mirror: Path) -> None:
    place = f"evaluation.mirror={mirror}"
    for words, said in (
        (
            ["evaluation.benchmarks=[winogrand]", place],
            "no task 'winogrand' (nearest: 'winogrande'",
        ),
        (["evaluation.benchmarks=[piqa]", place], "has no data for piqa"),
        (["evaluation.benchmarks=[winogrande@x]", place], "is not TASK or TASK@SHOTS"),
        (["evaluation.benchmarks=[winogrande]", f"{place}s"], "has no data for winogrande"),
    ):
        answer = tiebreak("run", *MICRO, *words)
        assert answer.code == 2 and said in answer.err, answer.err
        assert "Traceback" not in answer.err and answer.err.count("\n") == 1
