"""A run of two processes that is stopped, killed or broken: nothing stays, and it says why."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import forked
from tests.end_to_end.commands import (
    BASE,
    Answer,
    Command,
    call,
    environment,
    read_json,
    read_lines,
    start,
)
from tests.end_to_end.test_launchers import NEEDS
from tests.end_to_end.test_stopped import answer_when, fresh, stopped_at, trained
from tests.end_to_end.test_torchrun import torchrun
from tests.end_to_end.test_two_processes import ROUNDED
from tests.forked import Popen
from tiebreak.compose import compose
from tiebreak.store import Store

__all__ = ["fresh"]  # the fixture
pytestmark = pytest.mark.slow  # minutes on two busy cores; `make prove` runs it

TWO = "train.execution.num_processes=2"
LONG = [*BASE, "train.epochs=6", "train.execution.checkpoint_every=1000", TWO]
STEPS = 36


def processes(home: Path, *words: str) -> dict[int, str]:
    """Process -> its command, of those that work for this home and whose command has the words."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            ours = f"TIEBREAK_HOME={home}\0".encode() in (folder / "environ").read_bytes()
            if ours and all(word in told for word in words):
                found[int(folder.name)] = told
    return found


def rank(home: Path, number: int) -> int:
    """The process of a rank."""
    for process in processes(home, "tiebreak.run.distributed rank"):
        if f"\0RANK={number}\0".encode() in Path(f"/proc/{process}/environ").read_bytes():
            return process
    raise AssertionError(f"no rank {number}: {processes(home)}")


def until(seen: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "long.yaml"
    fixed = dict(one.split("=", 1) for one in LONG)
    path.write_text(yaml.safe_dump({"axes": {"method": ["dpo"]}, "fixed": fixed}))
    return "sweep", str(path)


def test_a_sweep_that_is_stopped_and_one_that_is_killed(
    fresh: Path, home: Path, sweep: tuple[str, ...], tiebreak: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = fresh / "runs" / compose(LONG).run_id
    process = start(fresh, *sweep)
    first = answer_when(lambda: trained(fresh) >= 5, process, process.terminate)
    assert first.code == 143 and "Traceback" not in first.err
    assert "[1/1] " in first.out and ": stopped\n" in first.out
    at = stopped_at(folder)
    assert 5 <= at < STEPS and processes(fresh) == {}

    process = start(fresh, *sweep)
    killed = answer_when(lambda: trained(fresh) >= at + 5, process,
                         lambda: os.killpg(process.pid, signal.SIGKILL))  # fmt: skip
    assert killed.code == -signal.SIGKILL

    # At once: the ranks of the killed one are still there.
    last = call(fresh, *sweep)
    assert last.code == 0, last.err
    assert "Traceback" not in last.err and processes(fresh) == {}
    (later,) = re.findall(rf"resumed from the checkpoint at step (\d+) of {STEPS}", last.err)
    assert int(later) > at, "the orphans saved one before they left"
    steps = [row["step"] for row in read_lines(folder / "throughput.jsonl")]
    assert steps[:at] == list(range(1, at + 1))
    assert steps[-(STEPS - int(later)) :] == list(range(int(later) + 1, STEPS + 1))

    monkeypatch.setenv("TIEBREAK_HOME", str(home))
    one = tiebreak("run", *LONG, "train.execution.num_processes=1")
    logs = [read_lines(record / "metrics.jsonl") for record in (one.record, folder)]
    for ours, theirs in zip(*logs, strict=True):
        same = ours.keys() - ROUNDED
        assert {n: ours[n] for n in same} == pytest.approx(
            {n: theirs[n] for n in same}, rel=1e-3, abs=1e-3
        )


def test_nobody_trains_for_a_run_that_is_gone(fresh: Path) -> None:
    process = start(fresh, "run", *LONG)
    answer_when(lambda: trained(fresh) >= 2, process, process.kill)
    until(lambda: not processes(fresh))
    assert list(fresh.glob("artefacts/align/.*.work/checkpoints/checkpoint-*/complete.json"))


def test_ctrl_c(fresh: Path) -> None:
    process = start(fresh, "run", *LONG)
    answer = answer_when(lambda: trained(fresh) >= 2, process,
                         lambda: os.killpg(process.pid, signal.SIGINT))  # fmt: skip
    assert answer.code == 130 and "Traceback" not in answer.err
    at = stopped_at(fresh / "runs" / compose(LONG).run_id)
    assert at >= 2 and processes(fresh) == {}
    alone = call(fresh, "run", *LONG, "train.execution.num_processes=1")
    assert alone.code == 0 and f"resumed from the checkpoint at step {at}" in alone.out


def test_a_rank_that_is_killed(fresh: Path) -> None:
    process = start(fresh, "run", *LONG)
    answer = answer_when(lambda: trained(fresh) >= 2, process,
                         lambda: os.kill(rank(fresh, 1), signal.SIGKILL))  # fmt: skip
    assert answer.code == 2 and processes(fresh) == {}
    said = "rank 1 of 2 was killed by signal 9 (out of memory?)"
    assert answer.err.splitlines()[-1] == f"tiebreak: {said}" and "Traceback" not in answer.err
    status = read_json(fresh / "runs" / compose(LONG).run_id / "status.json")
    assert (status["status"], status["error"]) == ("failed", said)


BROKEN = """
import os
if os.environ.get("RANK") == "1":
    from tiebreak.engine import trainer
    def share_of_rank(*arguments):
        raise ValueError("a defect in one rank")
    trainer.share_of_rank = share_of_rank
"""


def test_a_defect_in_one_rank(
    fresh: Path, sweep: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answer = call(fresh, *sweep)
    assert answer.code == 1 and processes(fresh) == {}
    record = fresh / "runs" / compose(LONG).run_id
    status, trace = read_json(record / "status.json"), (record / "error.txt").read_text()
    assert status["status"] == "failed"
    assert status["error"] == "RankFailed: rank 1 of 2: ValueError: a defect in one rank"
    assert trace.splitlines()[-1] == "ValueError: a defect in one rank"
    assert "share_of_rank" in trace
    assert "its trace is in the record's error.txt" in answer.out


def test_a_mistake_is_one_message(home: Path) -> None:
    lost = ["train.learning_rate=1e30", "train.max_grad_norm=1e9", "train.epochs=1"]
    answer = call(home, "run", *LONG, *lost)
    assert answer.code == 2 and "Traceback" not in answer.err
    said = [line for line in answer.err.splitlines() if line.startswith("tiebreak: ")]
    assert len(said) == 1 and "became nan at step 3. Usual causes: train.learning_rate" in said[0]


@pytest.mark.parametrize("engine", NEEDS)
def test_every_engine_starts_them(
    engine: str, home: Path, sweep: tuple[str, ...], tiebreak: Command
) -> None:
    if not NEEDS[engine]:
        pytest.skip(f"{engine} is not here")
    done = call(home, *sweep, "train.epochs=1", "--engine", engine)
    assert done.code == 0, done.err
    assert "1 runs: 1 done now" in done.out
    assert tiebreak("run", "-m", *LONG, "train.epochs=1").out.count("1 finished before") == 1


def test_torchrun_that_is_stopped(fresh: Path) -> None:
    """Somebody's own torchrun: its ranks leave after the same step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", "tiebreak.cli", "run", *LONG]  # fmt: skip
    process = Popen(
        command, env=environment(fresh, GLOO_SOCKET_IFNAME="lo"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    answer = answer_when(lambda: trained(fresh) >= 2, process, process.terminate)
    assert answer.code != 0
    at = stopped_at(fresh / "runs" / compose(LONG).run_id)
    again = torchrun(fresh, "run", *LONG)
    assert again.code == 0, again.err
    assert f"resumed from the checkpoint at step {at} of {STEPS}" in again.out


def test_torchrun_while_another_process_builds_the_same(home: Path, tmp_path: Path) -> None:
    """Rank 1 waited for rank 0 in the training, and rank 0 found the policy trained."""
    words = [*LONG, "train.epochs=1"]
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    assert call(copy, "run", *words, "train.execution.num_processes=1").code == 0
    store, key = Store(home / "artefacts"), compose(words).plan.align.key
    (home / "artefacts" / "align").mkdir(exist_ok=True)
    with open(home / "artefacts" / "align" / f".{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = tmp_path / "said"
        with said.open("w") as file, Popen(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
             "2", "-m", "tiebreak.cli", "run", *words],
            env=environment(home, GLOO_SOCKET_IFNAME="lo"), stderr=file, stdout=file,
        ) as process:  # fmt: skip
            until(lambda: "waiting for align/" in said.read_text())
            os.rename(copy / "artefacts" / "align" / key, store.path("align", key))
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.wait(120) == 0, said.read_text()
    assert "stages: " in said.read_text() and "Traceback" not in said.read_text()


def test_launchers_that_start_something_else(home: Path) -> None:
    answer = torchrun(home, "run", *LONG, "train.execution.num_processes=3")
    said = "train.execution.num_processes=3, and torchrun started 2; leave torchrun out"
    assert answer.code != 0 and said in answer.err
    silent = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
              "--module", "tiebreak.cli", "run"]  # fmt: skip
    env = environment(home)
    done = forked.run([*silent, *BASE], env=env)
    assert done.returncode != 0
    assert "accelerate launch was asked for several processes and started one" in done.stderr
    done = forked.run([*silent, *LONG, "train.epochs=1"], env=env)
    assert Answer(done.returncode, done.stdout, done.stderr).code == 0, done.stderr
