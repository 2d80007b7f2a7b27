"""Provenance says what kind of machine and code, never who or where."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from pathlib import Path

import pytest

from tiebreak import provenance


def commit(root: Path) -> None:
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "-m", "m"],
    ):
        subprocess.run(["git", "-C", str(root), *command], check=True)


def test_git(tmp_path: Path) -> None:
    assert provenance.git(tmp_path) == provenance.git(None) == {"commit": None, "dirty": None}
    (tmp_path / "a").write_text("1")
    commit(tmp_path)
    clean = provenance.git(tmp_path)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "b").write_text("2")
    assert provenance.git(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_git_does_not_look_above(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    commit(tmp_path)
    (tmp_path / "inner").mkdir()
    assert provenance.git(tmp_path / "inner")["commit"] is None


def test_nothing_personal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    text = json.dumps([provenance.versions(), provenance.host(["GPU"]), provenance.now()])
    for secret in ("k" * 40, f'"{socket.gethostname()}"', f'"{getpass.getuser()}"', '"/'):
        assert secret not in text
    assert provenance.host()["cpus"] >= 1 and provenance.host()["memory_gib"] > 0
    assert "numpy" in provenance.versions()
