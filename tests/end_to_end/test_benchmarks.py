"""Benchmarks of lm-eval on a finished run: each is measured alone, and stands in the table."""

from __future__ import annotations

import json
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
    how = read_json(folder / "result.json")["how"]
    assert set(how) == {"winogrande", "mmlu_anatomy"}
    assert set(how["winogrande"]) == {"policy", "start"}
    told = how["winogrande"]["policy"]
    assert (told["way"], told["requests"]) == ("prefixes", 24) and 0 <= told["cut"] <= 24
    items = pq.read_table(folder / "items" / "winogrande.parquet").to_pydict()
    assert len(items["id"]) == 12
    assert metrics["winogrande/acc"] == pytest.approx(sum(items["acc/after"]) / 12)
    table = tiebreak("table").out
    assert "winogrande/acc (%)" in table and "mmlu_anatomy/acc (%)" in table
    assert "gold/reward" in table, "what was measured before is still there"


def test_a_benchmark_added_to_a_finished_study_is_all_that_is_measured(
    home: Path, tiebreak: Command, mirror: Path, tmp_path: Path
) -> None:
    """Twelve runs from two start models."""
    fixed = dict(one.split("=", 1) for one in MICRO)
    fixed |= {"train.max_steps": 1, "evaluation.evaluators": ["pairs"]}
    axes = {"scenario": ["sft-then-align", "align-from-base"], "method": ["dpo", "ipo", "simpo"],
            "train.learning_rate": [1e-4, 2e-4]}  # fmt: skip
    study = tmp_path / "twelve.yaml"
    study.write_text(json.dumps({"axes": axes, "fixed": fixed}))
    first = tiebreak("sweep", str(study), "--workers", "1")
    assert first.code == 0 and "12 runs: 12 done now" in first.out, first.err
    before = artefacts(home)
    assert len(before["align"]) == 12 + 1, "these, and the one of the home"
    words = ("evaluation.benchmarks=[winogrande]", f"evaluation.mirror={mirror}",
             "evaluation.questions=4")  # fmt: skip
    second = tiebreak("sweep", str(study), "--workers", "1", *words)
    assert second.code == 0 and "12 runs: 12 done now" in second.out, second.err
    after = artefacts(home)
    assert len(after.pop("winogrande")) == 12 + 2
    assert len(after.pop("overlap")) == 2, "with the training rows, with and without demonstrations"
    assert after == before, "nothing else was made, or made again"
    third = tiebreak("sweep", str(study), "--workers", "1", *words)
    assert "12 runs: 0 done now, 12 finished before" in third.out


def artefacts(home: Path) -> dict[str, dict[str, int]]:
    """Stage -> its artefacts, with the time at which each was made."""
    found: dict[str, dict[str, int]] = {}
    for path in (home / "artefacts").glob("*/[0-9a-f]*"):
        found.setdefault(path.parent.name, {})[path.name] = path.stat().st_mtime_ns
    return found


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
