"""MT-Bench by category in the figures of a study, start models beside methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tiebreak.metrics import MT_BENCH_CATEGORIES
from tiebreak_analysis.studies.effect import by_category
from tiebreak_analysis.studies.study import StudyReport


def grades(height: float, names: tuple[str, ...] = MT_BENCH_CATEGORIES) -> dict[str, float]:
    return {f"mt_bench/{name}": height + at / 10 for at, name in enumerate(names)}


def study(figures: dict[str, Any]) -> StudyReport:
    return StudyReport("one", "One", ("mini",), (), (), lambda runs, done: (),
                       lambda runs, done: figures)  # fmt: skip


def drawn(synthetic: Any, figures: dict[str, Any] | None = None) -> dict[str, Any]:
    one, synthetic.damaged = study(figures or {}), {}
    planned = {"mini": [record for record in synthetic.records]}
    return dict(one.build(synthetic, planned, draw=True).figures)


def test_a_start_model_that_runs_share_is_one_run(synthetic: Any) -> None:
    for seed in (1, 2, 3):
        synthetic.add("dpo", seed, grades(5 + seed), grades(4))
    frame = by_category(synthetic.records, "mt_bench")
    of_start = frame[frame["method"] == "start model"]
    assert list(of_start["category"]) == list(MT_BENCH_CATEGORIES)
    assert of_start["value"].iloc[0] == 4
    assert len(frame[frame["method"] == "dpo"]) == 3 * len(MT_BENCH_CATEGORIES)
    assert len(by_category(synthetic.records, "mt_bench_pairwise")) == 0


def test_a_study_draws_dots_and_a_radar_of_each_scenario(synthetic: Any) -> None:
    for method in ("dpo", "kto"):
        synthetic.add(method, 1, grades(6), grades(4))
    synthetic.add("dpo", 1, grades(6, MT_BENCH_CATEGORIES[:2]), scenario="sft-then-align")
    found = drawn(synthetic)
    assert list(found) == [
        "mt-bench-align-from-base", "mt-bench-align-from-base-radar", "mt-bench-sft-then-align",
    ]  # fmt: skip
    radar = found["mt-bench-align-from-base-radar"]
    (axes,) = radar.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(MT_BENCH_CATEGORIES)
    assert {line.get_label() for line in axes.lines} == {"dpo", "kto", "start model"}
    assert axes.lines[0].get_ydata()[0] == pytest.approx(6)


def test_a_method_without_a_category_is_in_no_radar(synthetic: Any) -> None:
    synthetic.add("dpo", 1, grades(6), grades(4))
    synthetic.add("kto", 1, grades(6, MT_BENCH_CATEGORIES[1:]), grades(4))
    assert list(drawn(synthetic)) == ["mt-bench-align-from-base"]


def test_a_study_without_judges_draws_what_it_did(synthetic: Any) -> None:
    record = synthetic.add("dpo", 1, {"gold/reward": 0.5})
    assert replace(record) == record and drawn(synthetic, {"own": 1}) == {"own": 1}
