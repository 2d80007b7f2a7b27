"""A W&B that belongs to the test: no settings of the user's, and a server on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.track.wandb_stub import Stub

KEY = "0f" * 20


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own, none of the user's W&B settings, and no wandb process left behind."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()
    assert list((tmp_path / "user").iterdir()) == [], "wandb wrote to the user's home"


@pytest.fixture
def server(clean: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with Stub() as stub:
        monkeypatch.setenv("WANDB_BASE_URL", stub.url)
        yield stub
