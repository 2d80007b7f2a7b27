"""From records on disk to the files of a report, for every study."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import measured
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.studies import STUDIES, StudyReport, write_report
from tiebreak_analysis.tables.rows import Planned

WriteRun = Callable[..., str]  # tests/analysis/conftest.py
ITEMS = 12
SEEDS = (1, 2, 3)

CELLS: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "arizona-mini": [
        (method, scenario, {})
        for method in ("dpo", "ipo", "kto", "cpo")
        for scenario in ("sft-then-align", "align-from-base")
    ],
    "arizona-seeds-mini": [
        (method, scenario, {})
        for method in ("dpo", "ipo", "kto", "cpo")
        for scenario in ("sft-then-align", "align-from-base")
    ],
    "arizona-size-mini": [
        ("dpo", "sft-then-align", {"data": {"num_pairs": size}}) for size in (40, 400, 4000)
    ],
    "simpo-mini": [(m, "align-from-base", {}) for m in ("dpo", "simpo")],
    "simpo-length-mini": [
        (method, "align-from-base", {"train": {"learning_rate": rate}})
        for method in ("dpo", "simpo", "rdpo")
        for rate in (1e-4, 3e-4)
    ],
    "simpo-margin-mini": [("simpo", "align-from-base", {"method": {"gamma": g}}) for g in (0, 1)],
    "dpop-mini": [
        (method, "align-from-base", {"data": {"edit_distance": 0.1}})
        for method in ("dpo", "dpop", "ipo")
    ],
    "dpop-distance-mini": [
        (method, "align-from-base", {"data": {"edit_distance": far}})
        for method in ("dpo", "dpop")
        for far in (0.2, 1.0)
    ],
    "tdpo-mini": [
        (method, "align-from-base", {"method": {"beta": beta, "alpha": 0.5}})
        for method in ("dpo", "tdpo2")
        for beta in (0.1, 1.0)
    ],
}


def fill(runs_dir: Path, run_id: str, columns: dict[str, np.ndarray]) -> None:
    folder = runs_dir / run_id
    ids = {"id": [f"{at:02d}" for at in range(ITEMS)]}
    inside = measured(folder)
    (inside / "items").mkdir()
    items = {k: columns[k] for k in ("reward/before", "reward/after")}
    pd.DataFrame({**ids, **items}).to_parquet(inside / "items" / "gold.parquet")
    pairs = {k: v for k, v in columns.items() if not k.startswith("reward")}
    pd.DataFrame({**ids, **pairs}).to_parquet(inside / "pairs.parquet")
    logps = pd.DataFrame({**ids, "first_difference": np.full(ITEMS, 2)}).astype(
        {"first_difference": "int32"}
    )
    for side in ("chosen", "rejected"):
        for when, value in (("before", -1.0), ("after", -1.2)):
            logps[f"logp/{side}/{when}"] = [np.full(6, value, np.float32)] * ITEMS
    logps.to_parquet(inside / "pair_tokens.parquet")
    steps = [{"step": step, "drift/chosen": -0.1 * step, "entropy": 1.0} for step in range(1, 11)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))


@pytest.fixture
def studied(runs_dir: Path, write_run: WriteRun) -> Callable[[StudyReport], dict]:
    """Writes the runs of a study's sweeps; gives back what each sweep planned."""

    def write(study: StudyReport) -> dict[str, Sequence[Planned]]:
        ids = {name: _sweep(runs_dir, write_run, name) for name in study.sweeps if name in CELLS}
        records = load(runs_dir).records
        return {
            name: [Planned.of(r) for r in records if r.run_id in ids.get(name, ())]
            for name in study.sweeps
        }

    return write


def _sweep(runs_dir: Path, write_run: WriteRun, name: str) -> list[str]:
    rng = np.random.default_rng(len(name))
    before = rng.normal(0.4, 0.1, ITEMS)
    found = []
    for at, (method, scenario, config) in enumerate(CELLS[name]):
        for seed in SEEDS:
            after = before + 0.1 + 0.02 * at + rng.normal(0, 0.02, ITEMS)
            drift = rng.normal(0.3 if method == "dpop" else -2.0, 0.3, ITEMS)
            columns = {
                "reward/before": before, "reward/after": after, "drift/chosen": drift,
                "drift/rejected": drift - 1.0, "edit_distance": np.full(ITEMS, 0.1),
                "length/chosen": np.full(ITEMS, 20.0), "length/rejected": np.full(ITEMS, 21.0),
            }  # fmt: skip
            metrics = {
                "gold/reward": float(after.mean()), "drift/chosen": float(drift.mean()),
                "kl/reference": 1.0 + at, "length/generated": 28.0 + at, "accuracy/drift": 0.7,
                "accuracy/likelihood": 0.6, "gold/helpfulness": 0.9, "gold/faithfulness": 0.5,
                "gold/tone": 0.7, "gold/length": 0.8,
            }  # fmt: skip
            start = {"gold/reward": float(before.mean()), "length/generated": 28.0}
            told = {"data": {"name": "world", "study": name, **config.get("data", {})}}
            run_id = write_run(
                method, seed, scenario=scenario, metrics=metrics, start_metrics=start,
                start_model="s" * 64, method_settings=config.get("method"),
                config=told | {k: v for k, v in config.items() if k == "train"},
            )  # fmt: skip
            fill(runs_dir, run_id, columns)
            found.append(run_id)
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_a_report_is_written(name: str, studied, runs_dir: Path, tmp_path: Path) -> None:
    study = STUDIES[name]
    planned = studied(study)
    paths = write_report(study.build(load(runs_dir), planned, draw=True), tmp_path / "report")
    one = {path.name: path.read_bytes() for path in paths}
    assert all(one.values()) and {"effects.md", "effects.json"} <= set(one)
    assert ("published.csv" in one) is bool(study.papers)
    tables = [spec.name for spec in study.tables if any(planned.get(s) for s in spec.sweeps)]
    assert tables
    for table in tables:
        assert {f"{table}.{kind}" for kind in ("md", "tex", "csv", "html", "json")} <= set(one)
    assert {Path(n).stem for n in one if n.endswith("pdf")} == {
        Path(n).stem for n in one if n.endswith("png")
    }
    assert sum(n.endswith("pdf") for n in one) >= 2
    assert ("token-profile.png" in one) is (name == "dpop")
    effects = json.loads(one["effects.json"])["effects"]
    assert all(effect["tests"] for effect in effects)
    measured = [e["name"] for e in effects if e["tests"][0]["estimate"] is not None]
    assert measured == [e["name"] for e in effects if e["name"] != "tenth-of-data-same-steps"]


def test_the_same_records_give_the_same_bytes(studied, runs_dir: Path, tmp_path: Path) -> None:
    study = STUDIES["tdpo"]
    planned = studied(study)
    written = [
        write_report(study.build(load(runs_dir), planned, draw=True), tmp_path / str(time))
        for time in (1, 2)
    ]
    one, two = ({path.name: path.read_bytes() for path in paths} for paths in written)
    assert one == two


def test_dpop_holds_on_the_runs_made_so(studied, runs_dir: Path) -> None:
    planned = studied(STUDIES["dpop"])
    (effect,) = STUDIES["dpop"].build(load(runs_dir), planned).effects
    found = effect.tests[0].estimate
    assert effect.holds and found is not None
    assert (found.num_seeds, found.num_items) == (3, ITEMS)


def test_sweeps_without_a_finished_run_are_named(runs_dir: Path, studied) -> None:
    planned = studied(STUDIES["simpo"])
    report = STUDIES["simpo"].build(load(runs_dir), planned)
    assert "unbiased" not in report.tables
    assert any(note.startswith("simpo-unbiased-mini: no run is finished") for note in report.notes)


def test_a_study_before_its_first_run_says_what_is_missing(tmp_path: Path) -> None:
    for study in STUDIES.values():
        report = study.build(load(tmp_path / "runs"), dict.fromkeys(study.sweeps, ()))
        assert report.tables == {} and report.figures == {}
        assert all(not effect.holds for effect in report.effects)
        assert all("not measured" in effect.words for effect in report.effects)
        assert len(report.notes) >= len(study.sweeps)


def test_damaged_items_are_named(studied, runs_dir: Path) -> None:
    study = STUDIES["dpop"]
    planned = studied(study)
    broken = planned["dpop-mini"][0].run_id
    (measured(runs_dir / broken) / "pairs.parquet").write_bytes(b"PAR1")
    report = study.build(load(runs_dir), planned, draw=True)
    assert any(note.startswith(f"{broken}: pairs.parquet is damaged") for note in report.notes)
