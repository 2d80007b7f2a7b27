"""Eight processes at once on an empty store: each shared stage is built once, whoever dies."""

from __future__ import annotations

import contextlib
import glob
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.commands import BASE, environment
from tests.forked import Popen

EIGHT = 8
STEPS = 30
SMALL = ["model.pretraining.documents=100", "train.max_steps=2", "evaluation.num_prompts=4",
         "evaluation.max_new_tokens=8"]  # fmt: skip

# Two stages below one on top; a build writes a line with its process's number at each step, and
# goes on where the last one was killed.
PROCESS = f"""
import json, os, sys, time
from pathlib import Path
from tiebreak.compose import compose
from tiebreak.stages.stage import Context, Stage, make
from tiebreak.store import Settings, Store

def stage(name, **parents):
    def build(context, work, paths):
        log = work / "log"
        done = len(log.read_text().splitlines()) if log.exists() else 0
        for step in range(done, {STEPS}):
            with log.open("a") as stream:
                stream.write(f"{{step}} {{os.getpid()}}\\n")
            time.sleep(0.02)
    return Stage(name, Settings({{"of": sorted(parents)}}), build, parents)

context = Context(compose([]))
top = stage("top", left=stage("left"), right=stage("right"))
print("ready", flush=True)
sys.stdin.readline()
make(top, Store(Path(sys.argv[1])), context,
     note=lambda a: print(json.dumps([a.stage, a.reused]), flush=True))
"""


@pytest.fixture
def eight(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """They wait for one line each, so that they begin together."""
    processes = [
        Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path / "store")], env=environment(tmp_path),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(EIGHT)
    ]  # fmt: skip
    for one in processes:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    yield processes
    for one in processes:
        one.kill()
        one.communicate()


def answers(processes: list[subprocess.Popen[str]]) -> tuple[Counter[str], str]:
    """How often each stage was built rather than found, and all that was said on stderr."""
    built, said = Counter(), []
    for one in processes:
        out, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
        built.update(stage for stage, reused in map(json.loads, out.splitlines()) if not reused)
        said.append(err)
    return built, "".join(said)


def log(store: Path, stage: str, name: str = "[0-9a-f]*") -> list[tuple[int, int]]:
    """(step, process) of each line a build has written."""
    for path in glob.glob(f"{store}/{stage}/{name}/log"):
        with contextlib.suppress(FileNotFoundError):
            whole = re.findall(r"^(\d+) (\d+)\n", Path(path).read_text(), re.MULTILINE)
            return [(int(step), int(process)) for step, process in whole]
    return []


def test_each_stage_is_built_once(tmp_path: Path, eight: list[subprocess.Popen[str]]) -> None:
    built, said = answers(eight)
    assert built == {"left": 1, "right": 1, "top": 1}
    for stage in built:
        lines = log(tmp_path / "store", stage)
        assert [step for step, _ in lines] == list(range(STEPS))
        assert len({process for _, process in lines}) == 1
    assert said.count(" builds it\n") >= EIGHT - 1, "those that wait say for whom"


def test_builders_that_are_killed_are_followed(
    tmp_path: Path, eight: list[subprocess.Popen[str]]
) -> None:
    """Two die in the same stage; the third goes on with what they left."""
    by_number, killed = {one.pid: one for one in eight}, []
    for steps in (5, 15):
        while len(lines := log(tmp_path / "store", "left", ".*.work")) < steps:
            time.sleep(0.005)
        killed.append(lines[-1][1])
        by_number[killed[-1]].kill()
        by_number[killed[-1]].wait()
    built, _ = answers([one for one in eight if one.pid not in killed])
    assert built == {"left": 1, "right": 1, "top": 1}, "what a killed one began is one build"
    lines = log(tmp_path / "store", "left")
    assert [step for step, _ in lines] == list(range(STEPS)), "no step twice, none missing"
    who = list(dict.fromkeys(process for _, process in lines))
    assert who[:2] == killed and len(who) == 3


def do(home: Path, overrides: list[str], answer: Path) -> None:
    """One run in a process that has torch already."""
    os.environ["TIEBREAK_HOME"] = str(home)
    from tiebreak.compose import compose
    from tiebreak.run import worker

    found = worker.do("run", compose(overrides))
    answer.write_text(json.dumps(found))


def builder(home: Path, stage: str) -> int | None:
    """The process that is building a stage, once it has begun."""
    for work in glob.glob(f"{home}/artefacts/{stage}/.*.work"):
        with contextlib.suppress(FileNotFoundError):
            lock = Path(work).with_suffix(".lock").read_text()
            return int(lock.split()[1]) if lock else None
    return None


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Processes forked from one that has imported what is heavy: eight imports take a minute."""
    for name, value in environment(Path()).items():
        monkeypatch.setenv(name, value)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tiebreak.run.execute", "tiebreak.engine.trainer",
                                   "tiebreak.engine.supervised"])  # fmt: skip
    return server


@pytest.mark.slow
def test_eight_runs_share_what_they_can(tmp_path: Path, context: Any) -> None:
    """The first to pretrain is killed; seven runs are done, and then its own."""
    home, methods = (
        tmp_path / "home",
        ("dpo", "ipo", "cpo", "slic", "simpo", "rdpo", "dpop", "apo-zero"),
    )
    tasks = [(home, [*BASE, *SMALL, f"method={name}"], tmp_path / name) for name in methods]
    processes = [context.Process(target=do, args=task) for task in tasks]
    for one in processes:
        one.start()
    while (first := builder(home, "pretrain")) is None:
        assert any(one.is_alive() for one in processes)
        time.sleep(0.002)
    os.kill(first, signal.SIGKILL)
    for one in processes:
        one.join(timeout=100)
    codes = Counter(one.exitcode for one in processes)
    assert codes == {0: EIGHT - 1, -signal.SIGKILL: 1}
    (lost,) = (task for task, one in zip(tasks, processes, strict=True) if one.pid == first)
    again = context.Process(target=do, args=lost)
    again.start()
    again.join(timeout=60)

    built, used = Counter(), Counter()
    for _, _, answer in tasks:
        for stage, key, reused in json.loads(answer.read_text())["artefacts"]:
            used[stage, key] += 1
            built[stage, key] += not reused
    for (stage, _), count in built.items():  # the killed one may have made the tokens before
        assert count == 1 or (stage, count) == ("tokens", 0), built
    stages = Counter(stage for stage, _ in built)
    measured = dict.fromkeys(("generations", "gold", "pairs"), EIGHT + 1)
    assert stages == {"pretrain": 1, "tokens": 2, "reference": 1, "align": EIGHT, **measured}
    assert used.most_common(1)[0][1] == EIGHT
    assert not glob.glob(f"{home}/artefacts/*/.*.work")
