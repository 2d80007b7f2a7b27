"""The W&B mirror: what it writes offline and sends online, and that nothing in it breaks a run."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.track.wandb_stub import Stub
from tiebreak.errors import UserError
from tiebreak.track import mirror as mirrors
from tiebreak.track.mirror import Mirror, open_mirror, table

RUN, GROUP, KEY = "0123456789ab", "ba9876543210", "0f" * 20
NAMES = {"model": "m" * 80, "method": "dpo", "scenario": "align-from-base", "data": "world"}
RESULT = {"metrics": {"gold/reward": 0.5}, "start": {"metrics": {"gold/reward": 0.25}}}


@dataclass(frozen=True)
class Tracker:
    name: str = "wandb"
    project: str = "tiebreak"
    entity: str | None = None
    mode: str = "auto"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own, none of the user's W&B settings, and no wandb process left behind."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setattr(mirrors, "INIT_SECONDS", 2)
    monkeypatch.setattr(mirrors, "FINISH_SECONDS", 2)
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()
    assert list((tmp_path / "user").iterdir()) == [], "wandb wrote to the user's home"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with Stub() as stub:
        monkeypatch.setenv("WANDB_BASE_URL", stub.url)
        yield stub


def opened(folder: Path, tracker: Tracker | None = None, run_id: str = RUN) -> Mirror:
    config = {"seed": 1, "method": {"beta": 0.1}}
    chosen = tracker or Tracker()
    return open_mirror(chosen, run_id, GROUP, NAMES, config, folder, seed=1, tags=["study"])


def whole_run(mirror: Mirror, first: int = 1) -> None:
    with mirror:
        for step in (first, first + 1):
            mirror.log(step, {"loss": 1 / step, "drift/chosen": -1.0})
        mirror.generations(2, [{"prompt": "<b>", "before": "x", "after": "y"}])
        mirror.summary(RESULT)


def logs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("*run-*/*.wandb"))


def inspect(log: Path) -> dict[str, Any]:
    """wandb's own reader of its own log."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"records": [json.loads(line) for line in done.stdout.splitlines()]}


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_offline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole_run(opened(tmp_path))
    assert said(capfd) == []
    print(json.dumps(inspect(logs(tmp_path)[0]), indent=1)[:6000])
    assert 0
