"""Replays of a search on settings whose worth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import pruning
from benchmarks.pruning import Trained

COSTS = (1.0, 3.0, 10.0)


def pool(num: int, noise: float) -> list[Trained]:
    """Setting i is worth i; early looks see that through noise."""
    rng = np.random.default_rng(0)
    return [
        Trained({}, tuple(i + rng.normal(scale=noise, size=2)), float(i), float(i), COSTS)
        for i in range(num)
    ]


def order(pool: list[Trained]) -> list[Trained]:
    return [pool[i] for i in np.random.default_rng(1).permutation(len(pool))]


def test_random_search_trains_as_many_as_the_budget_pays_for() -> None:
    assert len(pruning.random_search(pool(9, 0), COSTS, 45.0)) == 4


def test_asha_spends_no_more_than_the_budget_and_tries_more() -> None:
    whole = pruning.asha(order(pool(27, 0)), COSTS, 90.0)
    assert 1 <= len(whole) <= 9
    assert pruning.picked(whole) >= 24  # of 0 to 26; nine trainings by chance miss the top three


@pytest.mark.parametrize(("noise", "sign"), [(0.1, 1), (1e6, -1)])
def test_asha_wins_where_early_looks_tell_and_loses_where_they_do_not(
    noise: float, sign: int
) -> None:
    found = np.array(list(pruning.replay(pool(30, noise), 4, pools=20, orders=5, seed=0)))
    assert sign * (found[:, 1] - found[:, 0]).mean() > 0


def test_the_same_seed_gives_the_same_replay() -> None:
    one, two = (list(pruning.replay(pool(12, 1), 4, 3, 2, seed=5)) for _ in range(2))
    assert one == two != list(pruning.replay(pool(12, 1), 4, 3, 2, seed=6))


@pytest.mark.slow
def test_it_runs_on_tiny_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--pretend", "--settings", "3", "--budgets", "2", "--pools", "2", "--orders", "1"]
    assert pruning.main([*tiny, "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 settings; CPU seconds") and "cost of 2 trainings" in said
