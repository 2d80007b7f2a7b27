"""kill -9 in the middle, then the same command: it goes on, and ends where it would have ended."""

from __future__ import annotations

import contextlib
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.commands import (
    MICRO,
    Answer,
    Command,
    call,
    differing,
    environment,
    only_run,
    read_json,
    read_lines,
    start,
)

# Long enough to be caught: 60 steps of SFT, 36 of align.
LONG = [*MICRO, "train.sft.epochs=10", "train.epochs=6"]


def kill_when(home: Path, seen: Callable[[], bool], *arguments: str) -> str:
    """Start, wait for the moment, and kill the whole process group. What it had said on stderr."""
    process = start(home, *arguments)
    while not seen():
        assert process.poll() is None, f"finished before it was killed: {process.communicate()}"
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, (out, err)
    return err


# Folders come and go while they are looked at: `glob.glob` and `os.walk` pass over that, pathlib
# raises.
def checkpoints(home: Path, stage: str) -> list[int]:
    found = glob.glob(f"{home}/artefacts/{stage}/.*.work/checkpoints/checkpoint-*/complete.json")
    return sorted(int(Path(path).parent.name.split("-")[1]) for path in found)


def trained(home: Path) -> int:
    """Lines of the training log of an unfinished align stage."""
    with contextlib.suppress(FileNotFoundError):
        for path in glob.glob(f"{home}/artefacts/align/.*.work/metrics.jsonl"):
            return Path(path).read_bytes().count(b"\n")
    return 0


def paths(home: Path) -> set[str]:
    return {os.path.join(at, name) for at, folders, files in os.walk(home)
            for name in (*folders, *files)}  # fmt: skip


def resumed_at(answer: Answer) -> int:
    found = re.search(r"resumed from the checkpoint at step (\d+) of 36", answer.out)
    assert found, answer.out + answer.err
    return int(found[1])


@pytest.fixture
def killed_home(prepared: Path, tmp_path: Path) -> Path:
    """The pretrained model and nothing after it."""
    home = tmp_path / "killed"
    shutil.copytree(prepared / "artefacts" / "pretrain", home / "artefacts" / "pretrain")
    return home


@pytest.fixture
def undisturbed(home: Path, tiebreak: Command) -> Path:
    answer = tiebreak("run", *LONG)
    assert answer.code == 0, answer.err
    return answer.record


def test_killed_in_sft_and_in_align(killed_home: Path, undisturbed: Path) -> None:
    kill_when(killed_home, lambda: max(checkpoints(killed_home, "sft"), default=0) >= 4,
              "run", *LONG)  # fmt: skip
    assert not list(killed_home.glob("artefacts/sft/[0-9a-f]*")), "SFT was over before the kill"
    assert read_json(only_run(killed_home) / "status.json")["status"] == "running"
    listed = call(killed_home, "runs").out
    assert "stopped" in listed and "the same command goes on" in listed

    in_sft = max(checkpoints(killed_home, "sft"))
    said = kill_when(killed_home, lambda: trained(killed_home) >= 7, "run", *LONG)
    assert f"sft: resumed from checkpoint-{in_sft}" in said
    before = trained(killed_home)
    assert before < 36, "align was over before the kill"
    status = read_json(only_run(killed_home) / "status.json")
    assert status["stage"] == "align" and status["steps"] == 36
    assert "/checkpoints/checkpoint-" in status["last_checkpoint"]
    at = max(checkpoints(killed_home, "align"))

    last = call(killed_home, "run", *LONG)
    assert last.code == 0, last.err
    assert resumed_at(last) == at >= 6
    assert differing(undisturbed, last.record) == []
    log = read_lines(last.record / "throughput.jsonl")
    assert [row["step"] for row in log] == list(range(1, 37))

    third = call(killed_home, "run", *LONG)
    assert third.out.endswith(f"this run is done; record: {last.record}\n")


def test_a_finished_run_answers_without_torch(prepared: Path) -> None:
    script = (
        "import sys; from tiebreak.cli import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'trl', 'wandb', 'pandas', 'datasets'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "run", *MICRO],
        env=environment(prepared), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, where, heavy = done.stdout.splitlines()
    assert where == f"this run is done; record: {only_run(prepared)}"
    assert heavy == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(8))
def test_killed_at_any_moment(attempt: int, killed_home: Path, undisturbed: Path) -> None:
    """Three kills, each after a number of changes below the home drawn at random."""
    draw = random.Random(attempt)
    for _ in range(3):
        process, seen = start(killed_home, "run", *LONG), paths(killed_home)
        left = draw.randrange(1, 100)
        while left and process.poll() is None:
            now = paths(killed_home)
            left, seen = left - (now != seen), now
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "finished before it was killed"
    last = call(killed_home, "run", *LONG)
    assert last.code == 0, last.err
    assert differing(undisturbed, last.record) == []
