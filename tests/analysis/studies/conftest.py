"""Synthetic runs: records and per-item numbers that we choose, as `records.runs.Runs` has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tiebreak_analysis.records.runs import Record

ITEMS = 40


class Synthetic:
    """What effects read of `Runs`, filled in by `add`."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._items: dict[str, pd.DataFrame] = {}
        self._pairs: dict[str, pd.DataFrame] = {}

    def add(
        self,
        method: str,
        seed: int,
        metrics: dict[str, float] | None = None,
        start: dict[str, float] | None = None,
        scenario: str = "align-from-base",
        items: dict[str, np.ndarray] | None = None,
        pairs: dict[str, np.ndarray] | None = None,
        **settings: Any,
    ) -> Record:
        run_id = f"{len(self.records):012x}"
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        record = Record(
            path=Path(run_id), run_id=run_id, group_id=run_id, status="finished", stage=None,
            step=None, steps=None, error=None, model="tiny", method=method, scenario=scenario,
            data="world", seed=seed, data_hash="d" * 64, evaluation="e" * 64, start_model="s" * 64,
            metrics=metrics or {}, start=start or {},
            settings={"method.name": method, "scenario.name": scenario, **dotted},
        )  # fmt: skip
        self.records.append(record)
        for kept, columns in ((self._items, items), (self._pairs, pairs)):
            if columns is not None:
                frame = pd.DataFrame(columns)
                frame.insert(0, "id", [f"{at:03d}" for at in range(len(frame))])
                kept[run_id] = frame.assign(run_id=run_id)
        return record

    def items(self, keys: Sequence[str] | None, evaluator: str = "gold") -> pd.DataFrame:
        assert evaluator == "gold"
        return self._of(self._items, keys)

    def pairs(self, keys: Sequence[str] | None) -> pd.DataFrame:
        return self._of(self._pairs, keys)

    def _of(self, kept: dict[str, pd.DataFrame], ids: Sequence[str] | None) -> pd.DataFrame:
        wanted = [kept[one] for one in (kept if ids is None else ids) if one in kept]
        return pd.concat(wanted) if wanted else pd.DataFrame({"run_id": [], "id": []})


@pytest.fixture
def synthetic() -> Synthetic:
    return Synthetic()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
