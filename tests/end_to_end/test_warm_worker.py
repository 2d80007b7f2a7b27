"""A worker keeps data and start models between runs; its runs leave the bytes that others leave."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import flat_memory
from tests.end_to_end.commands import MICRO, differing
from tiebreak.compose import compose
from tiebreak.data.tokens import Tokens
from tiebreak.engine import models
from tiebreak.run import worker
from tiebreak.warm import Kept, kept

RUNS = (
    ["method=kto"],
    ["method=ipo", "train=lora", "train.precision=float32"],
    ["method=tdpo1", "train.learning_rate=1e-3"],
)


@pytest.fixture
def room() -> Iterator[Kept]:
    kept.room = 2**26
    yield kept
    kept.room = 0
    kept._items.clear()


def do(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The records of all runs, done one after another in this process."""
    monkeypatch.setenv("TIEBREAK_HOME", str(home))
    found = []
    for overrides in RUNS:
        run = compose([*overrides, *MICRO, "train.max_steps=2"])
        assert "error" not in worker.do("run", run)
        found.append(home / "runs" / run.run_id)
    return found


def test_warm_runs_leave_the_same_bytes(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Kept
) -> None:
    for name in ("warm", "cold"):
        shutil.copytree(prepared, tmp_path / name)
    reads: list[Any] = []
    load = models.load_model

    def counted(*place: Any) -> Any:
        reads.append(Path(place[0]).parent.name)
        return load(*place)

    monkeypatch.setattr(models, "load_model", counted)
    warm = do(tmp_path / "warm", monkeypatch)
    assert reads.count("sft") == 1, "the start model, once for three runs"
    room.room = 0
    room_was = dict(room._items)
    room._items.clear()
    cold = do(tmp_path / "cold", monkeypatch)
    assert reads.count("sft") > 3
    assert [differing(one, other) for one, other in zip(warm, cold, strict=True)] == [[], [], []]
    for policy in ("model", "adapter_model"):
        files = sorted((tmp_path / "warm" / "artefacts" / "align").glob(f"*/{policy}.safetensors"))
        assert files
        for file in files:
            other = tmp_path / "cold" / file.relative_to(tmp_path / "warm")
            assert file.read_bytes() == other.read_bytes()
    _unchanged(room_was)


def _unchanged(items: dict[Any, Any]) -> None:
    """What was kept is still what the files hold."""
    tokens = {key: value for key, (value, _) in items.items() if isinstance(value, Tokens)}
    assert len(tokens) == 2, "rows to train on, and to evaluate"
    for (_, files), value in tokens.items():
        assert value == Tokens.load(Path(files[0][0]).parent)


def test_what_is_there_for_good_is_frozen_once() -> None:
    try:
        worker.settle(1)
        frozen = gc.get_freeze_count()
        assert frozen > 0
        lost = [object()]
        lost.append(lost)
        worker.settle(1)  # nothing was imported since
        assert gc.get_freeze_count() <= frozen and gc.is_tracked(lost)
    finally:
        gc.unfreeze()
        worker.settle.cache_clear()


@pytest.mark.slow
def test_memory_stays_flat(capsys: pytest.CaptureFixture[str]) -> None:
    """The proof of benchmarks/flat_memory.py, short."""
    assert flat_memory.main(["--runs", "70", "--warm", "40"]) == 0
    assert "after the first 40 runs: " in capsys.readouterr().out


def test_a_slope_is_seen() -> None:
    grown = [(run, 500 + 0.3 * run) for run in range(20)]
    assert flat_memory.slope(grown) == pytest.approx(0.3)


def test_the_runs_of_the_proof_differ() -> None:
    found = [run.run_id for run, _ in zip(flat_memory.runs(), range(60), strict=False)]
    assert len({*found}) == 60
