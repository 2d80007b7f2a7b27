"""Frames as records would give them, from numbers we choose; every draw is seeded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

METHODS = ("dpo", "ipo", "kto", "cpo", "simpo")


def history(methods=METHODS, num_runs: int = 3, num_steps: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for at, method in enumerate(methods):
        for run in range(num_runs):
            pace = 1 + 0.3 * at + 0.1 * rng.standard_normal()
            for step in range(1, num_steps + 1):
                done = 1 - np.exp(-pace * step / 60)
                noise = rng.standard_normal(4)
                rows.append({
                    "method": method, "run_id": f"{method}-{run}", "step": step,
                    "loss": 0.69 - 0.3 * done + 0.03 * noise[0],
                    "drift/chosen": (2 - 1.5 * at) * done + 0.4 * noise[1],
                    "drift/rejected": -(4 + at) * done + 0.4 * noise[2],
                    "displaced/share": min(1.0, max(0.0, 0.2 * at * done + 0.05 * noise[3])),
                })  # fmt: skip
    return pd.DataFrame(rows)


def settings(methods=("dpo", "tdpo1", "tdpo2"), num_runs: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for at, method in enumerate(methods):
        for beta in (0.02, 0.05, 0.1, 0.3, 1.0):
            for run in range(num_runs):
                kl = (0.8 + 0.25 * at) * 0.6 / (beta + 0.05) + 0.15 * rng.standard_normal()
                reward = 0.45 + 0.3 * (1 - np.exp(-kl / 2)) - 0.02 * at - 0.004 * kl
                reward += 0.012 * rng.standard_normal()
                rows.append({"method": method, "run_id": f"{method}-{beta}-{run}", "beta": beta,
                             "kl/reference": abs(kl) + 0.02, "gold/reward": reward})  # fmt: skip
    return pd.DataFrame(rows)


def sizes(methods=METHODS, num_runs: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = [
        {"method": method, "run_id": f"{method}-{size}-{run}", "rows": size,
         "gold/reward": 0.45 + (0.25 + 0.01 * at) * (1 - np.exp(-size / (150 + 60 * at)))
         + 0.012 * rng.standard_normal()}
        for at, method in enumerate(methods)
        for size in (100, 120, 300, 1000, 3000, 10000)
        for run in range(num_runs)
    ]  # fmt: skip
    return pd.DataFrame(rows)


CATEGORIES = (
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
)


def categories(methods=("dpo", "ipo", "kto", "start model"), num_runs: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [
        {"method": method, "run_id": f"{method}-{run}", "category": name,
         "value": 4 + 0.5 * (at == 0) + 3 * rng_level + 0.25 * rng.standard_normal()}
        for at, method in enumerate(methods)
        for name, rng_level in zip(CATEGORIES, np.linspace(1, 0, 8), strict=True)
        for run in range(num_runs)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def pairs(
    run_id: str, fall: float, num_pairs: int = 400, near: float = 1.0, seed: int = 0
) -> pd.DataFrame:
    """`pairs.parquet` of a run whose chosen responses fall by `fall` nats per token, more so (by
    `near`) the less the two responses differ. Edit distances from 0.02 to 0.7."""
    rng = np.random.default_rng(seed)
    length, shift = rng.integers(12, 60, num_pairs), rng.integers(-6, 7, num_pairs)
    distance = rng.uniform(0.02, 0.7, num_pairs)
    chosen = -fall * (1 + near * (0.35 - distance)) + 0.05 * rng.standard_normal(num_pairs)
    rejected = -0.2 + 0.05 * rng.standard_normal(num_pairs)
    frame = pd.DataFrame({"run_id": run_id, "id": [f"p{at}" for at in range(num_pairs)]})
    frame["edit_distance"] = distance
    frame["length/chosen"], frame["length/rejected"] = length, length + shift
    frame["drift/chosen"] = chosen * frame["length/chosen"]
    frame["drift/rejected"] = rejected * frame["length/rejected"]
    return frame


def profiles(methods=("dpo", "dpop", "ipo"), num_runs: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = [
        {"method": method, "run_id": f"{method}-{run}", "position": position,
         "mean": -0.4 - (0.9 - 0.45 * at) * (position > 0) * np.exp(-max(position, 0) / 8)
         + 0.08 * rng.standard_normal()}
        for at, method in enumerate(methods)
        for run in range(num_runs)
        for position in range(-5, 16)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def accuracies(methods=(*METHODS, "dpop", "orpo"), num_runs: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = [
        {"method": method, "run_id": f"{method}-{run}",
         "accuracy/drift": 0.70 + 0.02 * at + 0.006 * rng.standard_normal(),
         "accuracy/likelihood": 0.60 + 0.025 * at + 0.006 * rng.standard_normal()}
        for at, method in enumerate(methods)
        for run in range(num_runs)
    ]  # fmt: skip
    return pd.DataFrame(rows)
