"""Columns that a judge filled: questions it could not judge, and what is said of it below."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analysis.conftest import measured
from tests.analysis.tables.conftest import put_items
from tiebreak.track.record_format import CHECK_FORMAT, JUDGES
from tiebreak_analysis.difficulty import joint
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.win_rates import (
    Calibration,
    Repeatability,
    corrected,
    length_term,
    repeatability,
    win_rate,
)

METRIC = "head_to_head/win_rate"
Win = float | None
Wins = Sequence[Win]


@pytest.fixture
def judged(runs_dir: Path, write_run: Callable[..., str]) -> Callable[..., str]:
    """A record with these wins; None: the judge gave no verdict."""

    def write(
        method: str, seed: int, wins: Wins, judge: str = "j1", evaluator: str = "head_to_head",
        columns: dict[str, Any] | None = None, start: dict[str, float] | None = None,
        **more: float,
    ) -> str:  # fmt: skip
        known = [win for win in wins if win is not None]
        metrics = {f"{evaluator}/win_rate": sum(known) / len(known),
                   f"{evaluator}/judged": len(known), f"{evaluator}/questions": len(wins),
                   **more}  # fmt: skip
        run_id = write_run(method, seed, metrics=metrics, start_metrics=start or {})
        folder = measured(runs_dir / run_id)
        result = json.loads((folder / "result.json").read_text())
        result["settings"] = {"judge": {"id": judge, "name": "wise", "revision": None}}
        result["evaluators"] = {evaluator: judge}
        (folder / "result.json").write_text(json.dumps(result))
        ids = {"id": [f"q{at}" for at in range(len(wins))], "win/after": wins}
        put_items(runs_dir / run_id, {**ids, **(columns or {})}, f"items/{evaluator}.parquet")
        return run_id

    return write


def drawn(seed: int, share: float) -> list[Win]:
    return [float(w) for w in np.random.default_rng(seed).random(40) < share]


def test_runs_are_compared_on_the_questions_that_all_of_them_have(
    runs_dir: Path, judged: Callable[..., str]
) -> None:
    wins = {(m, s): drawn(s, share) for m, share in (("dpo", 0.9), ("kto", 0.2)) for s in (1, 2, 3)}
    wins["dpo", 1][4] = wins["kto", 3][7] = wins["kto", 3][4] = None
    for (method, seed), values in wins.items():
        judged(method, seed, values)
    table = comparison(load(runs_dir))
    (section,) = table.sections
    dpo = section.rows[1].cells[0]
    assert dpo is not None and (dpo.num_seeds, dpo.num_items) == (3, 38)
    assert "q4" not in dpo.sample.items and "q7" not in dpo.sample.items
    assert dpo.best and not section.odd_items
    said = "\n".join(table.notes)
    assert "judge wise (j1); head_to_head: n = 38 to 40 of 40 (the others failed; models" in said
    assert "never checked against people" in said


def test_a_result_that_is_not_the_mean_of_its_items_is_told(
    runs_dir: Path, judged: Callable[..., str]
) -> None:
    judged("dpo", 1, [1.0, 0.0, None, 1.0])
    judged("dpo", 2, [1.0, 0.0, None, 1.0], **{METRIC: 0.5})
    (section,) = comparison(load(runs_dir)).sections
    assert list(section.odd_items.values()) == [
        f"result.json has {METRIC} 0.5, the mean of its items is 0.666667"
    ]


def test_two_judges_never_share_a_column(runs_dir: Path, judged: Callable[..., str]) -> None:
    judged("dpo", 1, [1.0, 0.0, 1.0], judge="j1")
    judged("dpo", 2, [1.0, 0.0, 1.0], judge="j2")
    (section,) = comparison(load(runs_dir)).sections
    cell = section.rows[-1].cells[0]
    assert cell is not None and cell.num_seeds == 1
    assert list(section.outdated) == ["head_to_head"]


def test_a_check_stands_under_the_table_and_corrects_it(
    runs_dir: Path, judged: Callable[..., str]
) -> None:
    for seed in (1, 2, 3):
        judged("dpo", seed, drawn(seed, 0.8))
    calibration = Calibration(0.85, 0.15, 1e-4, 1e-4, -1e-4)
    folder = runs_dir.parent / JUDGES / "j1" / "pairs"
    folder.mkdir(parents=True)
    check = {
        "format": CHECK_FORMAT, "data": "here/pairs.jsonl", "judged": 300, "agreement": 0.85,
        "low": 0.81, "high": 0.89, "kappa": 0.7, "position_bias": 0.02, "length_bias": 0.1,
        "calibration": vars(calibration),
    }  # fmt: skip
    (folder / "check.json").write_text(json.dumps(check))
    table = comparison(load(runs_dir))
    said = "\n".join(table.notes)
    assert "agrees with people in 85 % [81, 89] of 300 pairs of pairs.jsonl, kappa 0.70" in said
    cell = table.sections[0].rows[1].cells[0]
    assert cell is not None
    found = corrected(win_rate(cell.sample.values.mean(0)), calibration)
    assert found.value is not None and found.value > cell.interval.mean
    ends = f"{100 * found.value:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    assert "corrected for the judge's mistakes" in said and f"align-from-base dpo {ends}" in said


def checked(runs_dir: Path, judge: str = "j1") -> Calibration:
    """What people said of that judge, below the records."""
    calibration = Calibration(0.85, 0.15, 1e-4, 1e-4, -1e-4)
    folder = runs_dir.parent / JUDGES / judge / "pairs"
    folder.mkdir(parents=True)
    check = {
        "format": CHECK_FORMAT, "data": "here/pairs.jsonl", "judged": 300, "agreement": 0.85,
        "low": 0.81, "high": 0.89, "kappa": 0.7, "position_bias": 0.02, "length_bias": 0.1,
        "calibration": vars(calibration),
    }  # fmt: skip
    (folder / "check.json").write_text(json.dumps(check))
    return calibration


def test_sessions_of_all_models_of_a_judge_enter_each_interval(
    runs_dir: Path, judged: Callable[..., str]
) -> None:
    calibration = checked(runs_dir)
    draw, seen = np.random.default_rng(0), []
    for evaluator in ("head_to_head", "alpaca_eval"):
        for seed in (1, 2, 3):
            wins, again = (draw.integers(0, 3, 40) / 2 for _ in range(2))
            some = [*again[:30], *[None] * 10]
            judged(evaluator[:3] + "po", seed, wins, evaluator=evaluator,
                   columns={"again/after": some, "again/before": [None] * 40,
                            "win/before": [None] * 40})  # fmt: skip
            seen.append(repeatability(wins[:30], again[:30]))
    table = comparison(load(runs_dir))
    said = "\n".join(table.notes)
    pooled = Repeatability.pooled(seen)
    assert f"differ by {100 * pooled.variance**0.5:.1f} points" in said
    assert "from 6 further sessions)" in said and "too few to tell" not in said
    cell = next(row.cells[0] for s in table.sections for row in s.rows if row.method == "heapo")
    assert cell is not None
    found = corrected(win_rate(cell.sample.values.mean(0)), calibration, pooled)
    assert f"heapo {100 * (found.value or 0):.0f} [{100 * found.low:.0f}, " in said
    assert "questions, checked pairs and sessions of the judge, about these models" in said


def test_one_session_says_what_to_do_and_five_verdicts_are_not_corrected(
    runs_dir: Path, judged: Callable[..., str]
) -> None:
    checked(runs_dir)
    wins = drawn(0, 0.6)
    judged("dpo", 1, wins, columns={"again/after": wins})
    judged("kto", 1, wins, evaluator="arena_hard")
    said = "\n".join(comparison(load(runs_dir)).notes)
    assert (
        "1 further session: too few to tell (more models, or evaluation.judge.sessions=4)" in said
    )
    assert "head_to_head/win_rate corrected" in said and "arena_hard/win_rate corrected" not in said


def test_alpaca_eval_is_fitted_to_all_models_together(
    runs_dir: Path, judged: Callable[..., str]
) -> None:
    """Two runs of each method, and the start model that they share, are five models."""
    draw, number = np.random.default_rng(0), 200
    hard = draw.standard_normal(number)
    wins, terms, ids = [], [], []

    def one(gain: float) -> tuple[dict[str, Any], np.ndarray]:
        own, other = (np.exp(draw.normal(5, 0.4, number) + 0.3 * hard) for _ in range(2))
        term = length_term(own, other)
        chance = 1 / (1 + np.exp(-(gain + hard + term)))
        won = draw.binomial(2, chance) / 2
        wins.append(won)
        terms.append(term)
        return {"win": won, "length": own, "length_other": other}, won

    before, start = one(-0.5)
    for method, gain in (("dpo", 0.5), ("kto", 0.0)):
        for seed in (1, 2):
            after, won = one(gain)
            columns = {f"{name}/{when}": values for when, side in (("before", before),
                       ("after", after)) for name, values in side.items()}  # fmt: skip
            ids.append(judged(method, seed, won, evaluator="alpaca_eval", columns=columns,
                              start={"alpaca_eval/win_rate": float(start.mean())}))  # fmt: skip
    table = comparison(load(runs_dir))
    (section,) = table.sections
    at = [column.key for column in section.columns].index("alpaca_eval/win_rate_lc_joint")
    found = joint(np.array(wins), np.array(terms))
    cells = [row.cells[at] for row in section.rows]
    means = [cell.interval.mean for cell in cells if cell is not None]
    assert means == pytest.approx([found.rates[0], found.rates[1:3].mean(), found.rates[3:].mean()],
                                  abs=1e-6)  # fmt: skip
    assert all(cell is not None and cell.num_items == number for cell in cells)
    assert not section.odd_items and "another model beside them moves it" in "\n".join(table.notes)
    asked = comparison(load(runs_dir), metrics=["alpaca_eval/win_rate_lc_joint"])
    assert [c.key for c in asked.sections[0].columns][0] == "alpaca_eval/win_rate_lc_joint"


def test_two_models_are_too_few_for_difficulty(runs_dir: Path, judged: Callable[..., str]) -> None:
    for method in ("dpo", "kto"):
        judged(
            method,
            1,
            drawn(1, 0.5),
            evaluator="alpaca_eval",
            columns={f"{name}/after": np.full(40, 9.0) for name in ("length", "length_other")},
        )
    (section,) = comparison(load(runs_dir)).sections
    assert "alpaca_eval/win_rate_lc_joint" not in [column.key for column in section.columns]
