"""Rows of `pairs.parquet` with drifts we choose."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def made(
    chosen: Sequence[float | None],
    rejected: Sequence[float | None],
    *,
    distance: Sequence[float] | float = 0.6,
    length: Sequence[int] | int = 20,
    rejected_length: Sequence[int] | int = 20,
    run_id: str = "a" * 12,
) -> pd.DataFrame:
    """Drifts in nats, sums over the response."""
    frame = pd.DataFrame({"run_id": run_id, "id": [f"p{at}" for at in range(len(chosen))]})
    frame["edit_distance"] = distance
    frame["length/chosen"], frame["length/rejected"] = length, rejected_length
    frame["drift/chosen"], frame["drift/rejected"] = list(chosen), list(rejected)
    return frame


def alike(chosen: float, rejected: float, num: int = 100, **more) -> pd.DataFrame:
    """Pairs round these means: half 0.1 nats above, half 0.1 below."""
    wobble = [0.1 if at % 2 else -0.1 for at in range(num)]
    return made([chosen + w for w in wobble], [rejected - w for w in wobble], **more)
