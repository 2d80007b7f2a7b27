"""Runs that fail in every way at once: the sweep does the others, says why, and retries only them.

A defect and a death are put into real workers by replacing their command line.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.end_to_end import rows
from tests.end_to_end.commands import BASE, Answer, Command, read_json
from tiebreak.run.task import command
from tiebreak.sweep.engines import local as pool
from tiebreak.sweep.sweep_file import read_sweep_file

pytestmark = pytest.mark.slow  # minutes on two busy cores; `make prove` runs it

STEPS = "train.max_steps=4"

# A worker whose losses fail from their third step on, as long as a file of the method's name is
# in a folder.
FAULTY = """
import os, signal, sys
from pathlib import Path
from tiebreak.run import worker
from tiebreak.methods import METHODS

def defect():
    raise RuntimeError("a defect in the loss")

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def fails(name, how):
    loss, home, saved = METHODS[name].loss, Path(os.environ["TIEBREAK_HOME"]), []
    def wrapped(self, pairs):
        saved.append(len([*home.glob("artefacts/align/.*.work/checkpoints/*/complete.json")]))
        if saved[-1] > saved[0] and Path(sys.argv[2], name).exists():
            how()
        return loss(self, pairs)
    METHODS[name].loss = wrapped

fails("ipo", defect)
fails("kto", killed)
worker.main()
"""


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    faulty = [sys.executable, "-c", FAULTY, "run", str(folder)]
    monkeypatch.setattr(pool, "command", lambda what: faulty)
    return folder


def study(path: Path, axes: dict, words: list[str], settings: dict | None = None) -> str:
    fixed = dict(one.split("=", 1) for one in words)
    path.write_text(yaml.safe_dump({"axes": axes, "fixed": fixed, "settings": settings or {}}))
    return str(path)


def failures(answer: Answer) -> dict[str, str]:
    """Method -> what the report says of its run, with the lines of its trace."""
    found = re.split(r"^failed: ", answer.out, flags=re.MULTILINE)[1:]
    return {text.split(" · ")[1]: text.split("records: ")[0] for text in found}


def test_a_defect_a_death_and_a_lost_loss(
    home: Path, tmp_path: Path, faults: Path, tiebreak: Command
) -> None:
    (faults / "ipo").touch()
    (faults / "kto").touch()
    name = study(
        tmp_path / "three-fail.yaml", {"method": ["ipo", "kto", "cpo", "dpo"]}, [*BASE, STEPS],
        {"cpo": {"train.learning_rate": 1e30, "train.max_grad_norm": 1e9}},
    )  # fmt: skip
    folders = {run.method_name: home / "runs" / at for run, at in ids(name)}

    first = tiebreak("sweep", name, "--workers", "1")
    assert first.code == 1, first.err
    assert "4 runs: 1 done now, 0 finished before, 3 failed\n" in first.out
    said = failures(first)
    assert said.keys() == {"ipo", "kto", "cpo"}
    assert "RuntimeError: a defect in the loss" in said["ipo"].splitlines()[-2]
    assert said["ipo"].endswith(f"  all of it: {folders['ipo'] / 'error.txt'}\n")
    assert "its process was killed by signal 9 (out of memory?)" in said["kto"]
    assert "became nan at step 3. Usual causes: train.learning_rate too high" in said["cpo"]
    assert "Traceback" in (folders["ipo"] / "error.txt").read_text()
    assert not (folders["cpo"] / "error.txt").exists(), "a user's mistake has no trace"
    for method in said:
        status = read_json(folders[method] / "status.json")
        assert (status["status"], status["step"], status["steps"]) == ("failed", 2, 4), method
        if method != "kto":  # which died before it could say that step 2 was saved
            assert status["last_checkpoint"].endswith("checkpoint-2")

    shown = tiebreak("status", name).out
    assert "three-fail: 4 runs: 1 done, 3 failed" in shown
    assert re.search(r"  failed +\S+ · ipo · .*: RuntimeError: a defect in the loss", shown)
    assert re.search(r"  failed +\S+ · kto · .*: its process was killed by signal 9", shown)
    assert re.search(r"  failed +\S+ · cpo · .*: .* became nan at step 3", shown)
    assert "do the failed ones again with: tiebreak retry three-fail" in shown

    for path in faults.iterdir():
        path.unlink()
    done = (folders["dpo"] / "status.json").stat()
    again = tiebreak("retry", name, "--workers", "1")
    assert again.code == 1 and failures(again).keys() == {"cpo"}
    assert "4 runs: 2 done now, 1 finished before, 1 failed\n" in again.out
    assert "[3/3]" in again.out and "· dpo ·" not in again.out
    assert again.err.count("resumed from the checkpoint at step 2 of 4") == 3
    assert (folders["dpo"] / "status.json").stat() == done
    assert not list((home / "runs").glob("*/error.txt")), "of an attempt that is over"
    assert "4 runs: 3 done, 1 failed" in tiebreak("status", name).out


def ids(name: str) -> list:

    return [(run, run.run_id) for run in read_sweep_file(name).runs()]


def test_data_that_go_away_once_the_sweep_has_begun(
    prepared: Path, tmp_path: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rows.checkpoint(prepared, tmp_path / "model")
    kept, lost = (rows.write(tmp_path / f"{n}.jsonl", rows.pairs(n)) for n in (40, 48))
    words = [*rows.SMALL, "train.max_steps=2", "model=./model", "scenario=align-from-base"]
    name = study(tmp_path / "files.yaml", {"data": [lost.name, kept.name]}, words)

    def loses(what: str) -> list[str]:
        lost.rename(tmp_path / "elsewhere")
        return command(what)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "command", loses)
        first = tiebreak("sweep", name, "--workers", "1")
    assert first.code == 1, first.err
    assert "2 runs: 1 done now, 0 finished before, 1 failed\n" in first.out
    assert re.search(r"failed: .*: 48.jsonl: no such file", first.out)
    assert "48.jsonl: no such file" in tiebreak("status", name).err

    (tmp_path / "elsewhere").rename(lost)
    assert "2 runs: 1 done, 1 failed" in tiebreak("status", name).out
    again = tiebreak("retry", name, "--workers", "1")
    assert again.code == 0, again.err
    assert "2 runs: 1 done now, 1 finished before, 0 failed\n" in again.out
