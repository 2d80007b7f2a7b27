"""Columns that a judge filled: questions it could not judge, and what is said of it below."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.conftest import measured
from tests.analysis.tables.conftest import put_items
from tiebreak.track.record_format import CHECK_FORMAT, JUDGES
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.win_rates import Calibration, corrected, win_rate

METRIC = "head_to_head/win_rate"
Win = float | None
Wins = Sequence[Win]


@pytest.fixture
def judged(runs_dir: Path, write_run: Callable[..., str]) -> Callable[..., str]:
    """A record with these wins; None: the judge gave no verdict."""

    def write(method: str, seed: int, wins: Wins, judge: str = "j1", **more: float) -> str:
        known = [win for win in wins if win is not None]
        metrics = {METRIC: sum(known) / len(known), "head_to_head/judged": len(known),
                   "head_to_head/questions": len(wins), **more}  # fmt: skip
        run_id = write_run(method, seed, metrics=metrics, start_metrics={})
        folder = measured(runs_dir / run_id)
        result = json.loads((folder / "result.json").read_text())
        result["settings"] = {"judge": {"id": judge, "name": "wise", "revision": None}}
        result["evaluators"] = {"head_to_head": judge}
        (folder / "result.json").write_text(json.dumps(result))
        ids = [f"q{at}" for at in range(len(wins))]
        put_items(runs_dir / run_id, {"id": ids, "win/after": wins}, "items/head_to_head.parquet")
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
