"""Records with per-item files: rewards by question, whose mean is the run's metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analysis.conftest import measured

WriteMeasured = Callable[..., str]
NUM_ITEMS = 40


def put_items(folder: Path, columns: dict[str, Any], file: str = "items/gold.parquet") -> None:
    import pandas as pd

    path = measured(folder) / file
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_parquet(path)


@pytest.fixture
def write_measured(runs_dir: Path, write_run: Callable[..., str]) -> WriteMeasured:
    """`after`, `before`: (items,) rewards of the method and of its start model."""

    def write(method: str, seed: int, after: Any, before: Any, **more: Any) -> str:
        after, before = np.asarray(after, float), np.asarray(before, float)
        win = np.where(after == before, 0.5, after > before)
        metrics = {"gold/reward": after.mean(), "win_rate/start": win.mean()}
        start = {"gold/reward": before.mean()}
        run_id = write_run(method, seed, metrics=metrics, start_metrics=start, **more)
        ids = [f"prompt-{at:03d}" for at in range(len(after))]
        columns = {"id": ids, "reward/after": after, "reward/before": before, "win": win}
        put_items(runs_dir / run_id, columns)
        return run_id

    return write


@pytest.fixture
def write_study(write_measured: WriteMeasured) -> Callable[..., dict[tuple[str, int], str]]:
    """Methods with the rewards named, plus noise of seed, item and both; (method, seed) -> id."""

    def write(
        rewards: dict[str, float], seeds: int = 5, noise: float = 0.02, **more: Any
    ) -> dict[tuple[str, int], str]:
        rng = np.random.default_rng(7)
        difficulty = rng.normal(0, 0.3, NUM_ITEMS)
        before = 0.2 + difficulty
        return {
            (method, seed): write_measured(
                method,
                seed,
                reward + difficulty + rng.normal(0, noise) + rng.normal(0, 0.05, NUM_ITEMS),
                before,
                **more,
            )
            for method, reward in rewards.items()
            for seed in range(1, seeds + 1)
        }

    return write
