"""The project installed from a wheel, far from its checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own."""
    pytest.importorskip("hatchling", reason="the build backend is not in this environment")
    folder = tmp_path_factory.mktemp("wheel")
    hatchling = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    made = subprocess.run(hatchling, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if k != "TIEBREAK_HOME"}
    env = plain | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_the_wheel_holds_what_it_needs(installed: Path) -> None:
    names = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert {"tiebreak/py.typed", "tiebreak/conf/config.yaml", "tiebreak/conf/model/tiny.yaml",
            "tiebreak/sweeps/arizona-mini.yaml",
            "tiebreak_analysis/records/runs.py"} <= names  # fmt: skip
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"tiebreak", "tiebreak_analysis"}, "no common name is taken"
    checkout = {p.relative_to(ROOT).as_posix() for p in (ROOT / "conf").rglob("*.yaml")}
    assert {f"tiebreak/{name}" for name in checkout} <= names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "artefacts/", "runs/"))]


def test_commands_work_from_anywhere(installed: Path, tmp_path: Path) -> None:
    code = (
        "import tiebreak, tiebreak.home as h; from tiebreak.compose import compose; "
        "from tiebreak.sweep.sweep_file import read_sweep_file; print(tiebreak.__file__); "
        "runs = read_sweep_file('arizona-mini').runs(); "
        "print(compose([]).names, len(runs), h.home(), h.checkout())"
    )
    done = run(installed, tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    where, said = done.stdout.splitlines()
    assert where.startswith(str(installed))
    assert "'method': 'dpo'" in said and f"36 {tmp_path} None" in said
    methods = run(installed, tmp_path, sys.executable, "-m", "tiebreak.cli", "methods")
    assert methods.returncode == 0 and "\ndpo " in methods.stdout
    runs = run(installed, tmp_path, sys.executable, "-m", "tiebreak.cli", "runs")
    assert runs.stdout == "no runs yet; start one with: tiebreak run\n"
