"""docs/adding-a-method.md, done as it says in a copy of the project."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import forked
from tests.end_to_end.commands import MICRO, Answer, environment, read_lines
from tiebreak.methods import METHODS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text()
FILES = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COPIED = ("src", "conf", "sweeps", "analysis", "tests/methods", "tests/config", "tests/conftest.py",
          "pyproject.toml")  # fmt: skip
METHOD, ORACLE = FILES
Say = Callable[..., Answer]


@pytest.fixture
def say(home: Path, tmp_path: Path) -> Say:
    """A line of the page, in a copy that has the method's file; more arguments may follow."""
    for name in COPIED:
        there = tmp_path / "copy" / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, there)
    put(tmp_path / "copy", METHOD)

    def command(line: str, *more: str) -> Answer:
        program, *arguments = line.split()
        module = {"tiebreak": "tiebreak.cli", "pytest": "pytest"}[program]
        copy = tmp_path / "copy"
        run = forked.run if program == "tiebreak" else forked.run_afresh
        done = run([sys.executable, "-m", module, *arguments, *more], cwd=copy,
                          env=environment(home, PYTHONPATH=f"{copy / 'src'}:{copy}"))  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    return command


def put(copy: Path, *names: str) -> None:
    for name in names:
        assert not (ROOT / name).exists(), "the page adds what is not there"
        (copy / name).write_text(FILES[name])


def test_the_page_adds_a_method(say: Say, tmp_path: Path) -> None:
    assert "mean-hinge" not in METHODS
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    card, refused, run, tests = block.splitlines()

    shown = say(card)
    assert shown.code == 0 and shown.out.startswith("mean-hinge: hinge loss on mean drifts.\n")
    assert "margin = 0.5   allowed: > 0   search: 0.25, 0.5, 1.0" in shown.out

    answer = say(refused)
    assert (answer.code, answer.err) == (
        2, "tiebreak: method.margin=-1.0 must be above 0; usual values: 0.25, 0.5, 1.0\n",
    )  # fmt: skip

    answer = say(run, *MICRO)
    assert answer.code == 0, answer.err
    assert "stages: 4 built" in answer.out, "what comes before alignment is shared"
    first, *_, last = read_lines(answer.record / "metrics.jsonl")
    assert first["loss"] == pytest.approx(0.5, abs=1e-5) and last["loss"] < 0.5

    asked = say("pytest tests/methods/test_closed_forms.py -k oracle -p no:cacheprovider")
    assert asked.code == 1 and "give it one in a tests/methods/oracles_*.py" in asked.out
    put(tmp_path / "copy", ORACLE)
    proved = say(tests, "-p", "no:cacheprovider", "--verbosity=1")
    assert proved.code == 0, proved.out[-3000:]
    passed = re.search(r"(\d+) passed", proved.out)
    assert passed and int(passed[1]) > 30
