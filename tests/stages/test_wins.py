"""Wins as metrics and as columns of the record: five verdicts by hand, two turns, what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiebreak.metrics import evaluation_metric
from tiebreak.stages.evaluators import EVALUATORS
from tiebreak.stages.evaluators.question_files import ARENA_HARD, MT_BENCH
from tiebreak.stages.evaluators.wins import Contest, style_of

STYLE = [{"length": 10, "headings": 0, "lists": 1, "bold": 0},
         {"length": 20, "headings": 1, "lists": 0, "bold": 0}]  # fmt: skip


def row(at: int, win: float | None, **more: Any) -> dict[str, Any]:
    half = {"first": win, "second": win, "again": None, "failed": [], "category": ""}
    sides = [{**side, "length": side["length"] + 3 * at % 7} for side in STYLE]
    return {"id": f"q{at}", "win": win, "style": sides, **half, **more}


def test_arena_hards_score_is_the_mean_of_repeated_games() -> None:
    """A>>B counts three games, A>B one; question 3 was not judged."""
    rows = [
        row(0, 0.75, first=1.0, second=0.0, weight=2.0, category="hard_prompt"),  # A>>B, then A>B
        row(1, 0.0, weight=3.0, category="hard_prompt"),  # B>>A twice
        row(2, 0.5, weight=1.0, category="creative_writing"),
        row(3, None, weight=1.0, category="creative_writing", failed=["refused"]),
    ]
    found = ARENA_HARD.metrics(rows)
    games = [1, 1, 1, 0] + [0] * 6 + [0.5, 0.5]
    assert found["arena_hard/win_rate"] == pytest.approx(np.mean(games))
    assert found["arena_hard/hard_prompt"] == pytest.approx(0.3)
    assert found["arena_hard/creative_writing"] == pytest.approx(0.5)
    assert (found["arena_hard/questions"], found["arena_hard/judged"]) == (4, 3)
    assert found["arena_hard/position_bias"] == pytest.approx(0.5 / 3)
    assert {"arena_hard/win_rate_sc", "arena_hard/hard_prompt_sc"} <= set(found)


def test_each_metric_of_wins_is_the_mean_of_its_column() -> None:
    draw = np.random.default_rng(0)
    rows = [
        row(at, float(draw.integers(0, 3)) / 2, weight=float(draw.choice([1, 2, 3])),
            again=float(draw.integers(0, 3)) / 2, again_weight=1.0, again_2=0.5, again_2_weight=3.0,
            category="hard_prompt" if at % 3 else "creative_writing")
        for at in range(30)
    ]  # fmt: skip
    metrics = ARENA_HARD.metrics(rows)
    (columns,) = ARENA_HARD.files([], rows).values()
    for name, value in metrics.items():
        metric = evaluation_metric(name)
        if metric.items:
            (column,) = metric.item_columns("after")
            known = [one for one in columns[column] if one is not None]
            assert np.mean(known) == pytest.approx(value), name
    moved = np.array([columns["again/after"], columns["again_2/after"]]) - columns["win/after"]
    assert metrics["arena_hard/repeat_shift"] == pytest.approx(moved.mean())
    assert metrics["arena_hard/repeated"] == 30


def test_rows_of_before_are_read_as_they_were() -> None:
    """Without sessions, turns or weights, as artefacts of earlier versions have them."""
    rows = [row(0, 1.0), row(1, 0.0, again=0.5), row(2, None, first=1.0)]
    found = Contest("head_to_head").metrics(rows)
    assert found["head_to_head/win_rate"] == 0.5 and found["head_to_head/repeat_shift"] == 0.5
    (columns,) = Contest("head_to_head").files(rows, rows).values()
    assert columns["win/before"] == columns["win/after"] == [1.0, 0.0, None]
    assert columns["again/after"] == [None, 0.5, None] and "weight/after" not in columns
    old = {"grades": [5.0, 7.0], "again": [6.0, None], "category": "math", "failed": [], "id": "1"}
    assert EVALUATORS["mt_bench"].metrics([old])["mt_bench/repeat_shift"] == 1.0


def test_a_question_of_two_turns_is_one_item() -> None:
    rows = [row(0, 0.75, turns=[1.0, 0.5], category="math"),
            row(1, 0.25, turns=[0.0, 0.5], category="writing"),
            row(2, None, turns=[1.0, None], category="writing")]  # fmt: skip
    found = MT_BENCH.metrics(rows)
    assert found["mt_bench_pairwise/win_rate"] == 0.5 and found["mt_bench_pairwise/math"] == 0.75
    assert (found["mt_bench_pairwise/turn_1"], found["mt_bench_pairwise/turn_2"]) == (0.5, 0.5)
    assert "mt_bench_pairwise/stem" not in found and MT_BENCH.metrics([]) == {}
    (columns,) = MT_BENCH.files([], rows).values()
    assert columns["writing/after"] == [None, 0.25, None]
    assert columns["turn_1/after"] == [1.0, 0.0, None]


def test_marks_in_code_are_no_style_of_arena_hard() -> None:
    text = "# a\n```\n# b\n- c\n```\n- d **e**"
    assert style_of(text) == {"length": 29, "headings": 2, "lists": 2, "bold": 1}
    assert style_of(text, True) == {"length": 29, "headings": 1, "lists": 1, "bold": 1}
