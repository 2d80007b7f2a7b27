"""A home with one finished micro run, made once per test session and copied by whoever writes."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import forked
from tests.end_to_end.commands import MICRO, Answer, Command, call


@pytest.fixture(autouse=True)
def libraries_are_no_garbage() -> None:
    """A run collects garbage between its stages, and half a second of each collection went to
    objects of imported modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only. Made by one of the test processes; the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home = shared / "prepared"
    with open(shared / "prepared.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            made = call(shared / "making", "run", *MICRO)
            assert made.code == 0, made.err
            os.rename(shared / "making", home)
    return home


@pytest.fixture
def home(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared home, which this test's commands use."""
    copy = tmp_path / "home"
    shutil.copytree(prepared, copy)
    monkeypatch.setenv("TIEBREAK_HOME", str(copy))
    return copy


@pytest.fixture
def tiebreak(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process, where torch is imported once for all tests."""
    from tiebreak.cli import main

    monkeypatch.setattr(subprocess, "Popen", forked.Popen)  # a sweep's workers

    def command(*arguments: str) -> Answer:
        code = 0
        capfd.readouterr()
        try:
            main(list(arguments))
        except SystemExit as stop:
            code = int(str(stop.code or 0))
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return command
