"""A run measured in several ways: an entry for each, its numbers and files its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.conftest import evaluate_again, measured
from tests.analysis.record_files import fill, parquet
from tiebreak_analysis.records import Runs, cache, load

WriteRun = Callable[..., str]
FIRST, SECOND = "e" * 64, "f" * 12


@pytest.fixture
def twice(runs_dir: Path, write_run: WriteRun) -> str:
    """A run with two evaluations, beside one with the first alone and one that still runs."""
    run_id = write_run(seed=1, config={"evaluation": {"split": "test", "temperature": 1.0}})
    write_run(seed=2)
    write_run(seed=3, status="running")
    for folder in runs_dir.iterdir():
        fill(folder)
    changed = {"metrics": {"gold/reward": 0.25}, "settings": {"split": "validation"}}
    inside = evaluate_again(runs_dir / run_id, SECOND, **changed)
    parquet(inside / "items" / "gold.parquet", {"id": ["q"], "reward/after": [0.25]})
    return run_id


def entries(runs: Runs, run_id: str) -> dict[str | None, float | None]:
    return {r.evaluation: r.metrics.get("gold/reward") for r in runs.records if r.run_id == run_id}


def test_a_run_measured_twice_is_two_entries(runs_dir: Path, twice: str) -> None:
    runs = load(runs_dir)
    assert runs.skipped == () and len(runs.records) == 4
    assert entries(runs, twice) == {FIRST: 0.5, SECOND: 0.25}
    first, second = (r for r in runs.records if r.run_id == twice)
    assert (first.key, second.key) == (f"{twice}:{FIRST}", f"{twice}:{SECOND}")
    assert first.evaluators == {"gold": "e" * 16}
    assert [r.settings["evaluation.split"] for r in (first, second)] == ["test", "validation"]
    assert second.settings["evaluation.temperature"] == 1.0
    (running,) = [r for r in runs.records if r.status == "running"]
    assert running.evaluation is None and running.key == running.run_id


def test_each_entry_has_its_own_files(runs_dir: Path, twice: str) -> None:
    runs = load(runs_dir)
    items = runs.items([f"{twice}:{SECOND}"])
    assert items.to_dict("list") == {
        "run_id": [f"{twice}:{SECOND}"], "id": ["q"], "reward/after": [0.25],
    }  # fmt: skip
    assert len(runs.items([f"{twice}:{FIRST}"])) == 5
    assert len(runs.pairs([f"{twice}:{SECOND}"])) == 0, "it has none"
    assert runs.history()["run_id"].nunique() == 3, "the log of a run stands under both"
    assert len(runs.frame) == 4


def test_one_evaluation_may_be_wanted_of_each_run(runs_dir: Path, twice: str) -> None:
    runs = load(runs_dir)
    assert entries(runs.measured_by([(twice, SECOND)]), twice) == {SECOND: 0.25}
    assert len(runs.measured_by([(twice, SECOND)]).records) == 3
    assert len(runs.measured_by([(twice, FIRST), (twice, SECOND)]).records) == 4
    assert len(runs.measured_by([(twice, None)]).records) == 4
    none = runs.measured_by((r.run_id, "0" * 12) for r in runs.records)
    assert [r.status for r in none.records] == ["running"], "the others were measured otherwise"


def test_a_finished_evaluation_counts_while_the_run_does_something_else(
    runs_dir: Path, write_run: WriteRun
) -> None:
    run_id = write_run()
    status = runs_dir / run_id / "status.json"
    told = json.loads(status.read_text())
    status.write_text(json.dumps({**told, "status": "failed", "stage": "evaluate", "error": "x"}))
    (runs_dir / run_id / "evaluations" / SECOND).mkdir()
    (record,) = load(runs_dir).records
    assert record.finished and (record.stage, record.error) == (None, None)


def test_a_damaged_evaluation_is_named_and_the_other_counts(runs_dir: Path, twice: str) -> None:
    shutil.copytree(runs_dir / twice / "evaluations" / SECOND,
                    runs_dir / twice / "evaluations" / "copy")  # fmt: skip
    runs = load(runs_dir)
    assert set(entries(runs, twice)) == {FIRST, SECOND}
    ((path, why),) = runs.skipped
    assert path == runs_dir / twice
    assert why == f"evaluation copy: result.json is of evaluation {SECOND}: its folder was renamed"


def test_the_cache_knows_evaluations_apart(
    runs_dir: Path, twice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "WORTH", 1)
    cold = load(runs_dir)
    warm = load(runs_dir)
    assert warm.records == cold.records
    assert warm.items().equals(cold.items()) and warm.items().equals(load(runs_dir).items())
    shutil.rmtree(runs_dir / twice / "evaluations" / SECOND)
    alone = load(runs_dir)
    assert entries(alone, twice) == {FIRST: 0.5}
    assert alone.items()["run_id"].nunique() == 2 and twice in set(alone.items()["run_id"])


def test_throughput_is_read_when_asked_for(runs_dir: Path, write_run: WriteRun) -> None:
    run_id, without = write_run(seed=1), write_run(seed=2)
    fill(runs_dir / run_id)
    by_id = {r.run_id: r for r in load(runs_dir).records}
    assert by_id[run_id].throughput == {
        "seconds": 3.0, "response_tokens/s": 110.0, "memory/peak": 513.25,
    }  # fmt: skip
    assert by_id[without].throughput == {}
    (runs_dir / without / "throughput.jsonl").write_text("no log\n")
    again = {r.run_id: r for r in load(runs_dir).records}
    assert again[without].throughput == {} and again == by_id, "a clock makes no difference"
    assert measured(runs_dir / run_id).name == FIRST
