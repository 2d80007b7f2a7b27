"""Synthetic records: the files of `runs/<run id>/` that analysis reads, with numbers we choose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiebreak.track.record_format import FORMAT, RESULT, evaluation_folder

WriteRun = Callable[..., str]


def identity(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def write_run(runs_dir: Path) -> WriteRun:
    """`write_record` below `runs_dir`; gives back the run id."""
    return partial(write_record, runs_dir)


def write_record(
    runs_dir: Path,
    method: str = "dpo",
    seed: int = 1,
    reward: float = 0.5,
    start_reward: float = 0.2,
    *,
    scenario: str = "align-from-base",
    model: str = "tiny",
    data: str = "world",
    data_hash: str = "d" * 64,
    evaluation: str = "e" * 64,
    method_settings: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    start_model: str | None = None,
    **outcome: Any,
) -> str:
    """One record. Unless told, a scenario with SFT has a start model per seed, others one."""
    names = {"model": model, "method": method, "scenario": scenario, "data": data}
    settings = {
        **{part: {"name": name} for part, name in names.items()},
        "train": {"learning_rate": 5e-7},
        **(config or {}),
        "method": {"name": method, "beta": 0.1, **(method_settings or {})},
    }
    group_id = identity(settings, data_hash, evaluation)[:12]  # so that two of them are two runs
    run_id = identity(group_id, seed)[:12]
    of_run = {"format": FORMAT, "run_id": run_id, "group_id": group_id, "seed": seed}
    start_model = start_model or identity(model, scenario, scenario.startswith("sft") and seed)
    hashes = {"data": data_hash, "start_model": start_model}
    folder = runs_dir / run_id
    folder.mkdir(parents=True)
    untold = {"seed": seed, "tracker": {"mode": f"mode-{seed}"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | untold))
    _put(folder / "manifest.json", {**of_run, "names": names, "hashes": hashes})
    usual = {"gold/reward": (start_reward, reward)}
    _put_outcome(folder, evaluation, of_run, start_model, usual, **outcome)
    return run_id


def evaluate_again(folder: Path, evaluation: str, **changed: Any) -> Path:
    """A second evaluation of a finished record, its result the first one's but for `changed`."""
    first = json.loads((measured(folder) / RESULT).read_text())
    inside = evaluation_folder(folder, evaluation)
    inside.mkdir()
    _put(inside / RESULT, {**first, "evaluation": evaluation, **changed})
    return inside


def measured(folder: Path) -> Path:
    """The folder of a record's only evaluation."""
    (found,) = (folder / "evaluations").iterdir()
    return found


def _put_outcome(
    folder: Path,
    evaluation: str,
    of_run: dict[str, Any],
    start_model: str,
    usual: dict[str, tuple[float, float]],
    status: str = "finished",
    metrics: dict[str, float] | None = None,
    start_metrics: dict[str, float] | None = None,
) -> None:
    where = {"stage": None if status == "finished" else "align", "step": 7, "steps": 20}
    error = "the loss is nan at step 7" if status == "failed" else None
    told = {"format": FORMAT, "status": status, **where, "error": error, "last_checkpoint": None}
    _put(folder / "status.json", told)
    if status == "finished":
        before = {name: values[0] for name, values in usual.items()}
        after = {name: values[1] for name, values in usual.items()}
        start = {
            "model": start_model,
            "metrics": before if start_metrics is None else start_metrics,
        }
        how = {"evaluation": evaluation, "evaluators": {"gold": evaluation[:16]}}
        result = {"metrics": after if metrics is None else metrics, "start": start}
        inside = evaluation_folder(folder, evaluation)
        inside.mkdir(parents=True)
        _put(inside / RESULT, {**of_run, **how, **result})


def _put(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))
