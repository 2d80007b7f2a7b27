"""A study on disk for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from page_study import HOSTILE, fill

from tests.analysis.conftest import measured


@pytest.fixture
def study(runs_dir: Path, write_run: Callable[..., str]) -> Path:
    """Three methods in one scenario with three seeds, two in another with one; a run that goes
    on; a torn record."""
    for at, method in enumerate(("dpo", "ipo", "kto")):
        for seed in (1, 2, 3):
            add(runs_dir, write_run, "sft-then-align", method, at, seed)
    for at, method in enumerate(("dpo", "ipo")):
        add(runs_dir, write_run, "align-from-base", method, at, 1)
    going = write_run("simpo", 1, status="running", method_settings={"note": HOSTILE})
    fill(runs_dir / going, 1, 7, 0.1)
    torn = write_run("dpop", 1)
    (measured(runs_dir / torn) / "result.json").write_text("{")
    return runs_dir


def add(
    runs_dir: Path, write_run: Callable[..., str], scenario: str, method: str, at: int, seed: int
) -> None:
    reward = 0.5 + 0.02 * at + 0.01 * ((7 * seed + 3 * at) % 5)
    metrics = {"gold/reward": reward, "kl/reference": 1.0 + at + 0.1 * seed}
    run = write_run(method, seed, reward, scenario=scenario, metrics=metrics)
    fill(runs_dir / run, seed, 30, 0.05 * (at + 1))
