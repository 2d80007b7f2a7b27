"""Sweeps over the nodes of a Ray cluster: Ray's own for tests, several nodes on one machine.

Needs `pip install -c constraints.txt 'tiebreak[ray]'`; `make prove` runs it where that is there.
The nodes take half a minute to start.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiebreak.compose import Run, compose
from tiebreak.errors import UserError
from tiebreak.sweep.engines import engine_for
from tiebreak.sweep.tasks import Grid, State, SweepResult, standings, sweep

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on the loopback interface alone
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]

# Seed 3 kills its process and 4 the actor above it; seeds from 9 on wait until told to stop.
CHILD = """
import json, os, signal, sys, time
def leave(*_):
    print(json.dumps({"stopped": True}), flush=True)
    os._exit(143)
signal.signal(signal.SIGTERM, leave)
for line in sys.stdin:
    seed = json.loads(line)["run"]["seed"]
    if seed in (3, 4):
        os.kill(os.getpid() if seed == 3 else os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if seed >= 9:
        with open(os.environ["TIEBREAK_HOME"] + f"/part-{seed}", "w") as file:
            print(os.getppid(), file=file)
        os.rename(file.name, file.name.replace("part", "begun"))
        time.sleep(60)
    print(json.dumps({"artefacts": [["align", str(os.getpid()), False]]}), flush=True)
"""
REPLACE = """
import sys
from tiebreak.sweep.engines import local
local.command = lambda what: [sys.executable, "-I", "-c", {child!r}]
"""
NODE = {"node_ip_address": "127.0.0.1", "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that does no run, and two nodes with room for one each."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(REPLACE.format(child=CHILD))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        made = importlib.import_module("ray.cluster_utils").Cluster(
            initialize_head=True, head_node_args={**NODE, "num_cpus": 0}
        )
        for _ in range(2):
            made.add_node(**NODE, num_cpus=1)
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    return tmp_path


def runs(*seeds: int) -> list[Run]:
    return [compose(["tracker=none", f"seed={seed}"]) for seed in seeds]


def do(
    cluster: Any, workers: int | None, *seeds: int, begun: int = 1, act: Any = None
) -> SweepResult:
    """act: called with the engine and an actor's process id, once so many runs have begun."""
    engine = engine_for("ray", workers, [], Path(), [f"address={cluster.address}"])

    def when_begun() -> None:
        while len(files := list(Path(os.environ["TIEBREAK_HOME"]).glob("begun-*"))) < begun:
            time.sleep(0.1)
        act(engine, int(files[0].read_text()))

    other = threading.Thread(target=when_begun)
    if act is not None:
        other.start()
    result = sweep("mine", Grid(runs(*seeds)), engine, print)
    if act is not None:
        other.join()
    return result


def test_every_other_reply_arrives(cluster: Any) -> None:
    """A process that dies is replaced, and so is an actor."""
    result = do(cluster, None, 1, 3, 4, 5, 6)
    assert result.done == 3
    why = {run.seed: words for run, words in result.failed}
    assert why[3] == "its process was killed by signal 9 (out of memory?)"
    assert why[4].startswith(f"its Ray worker on {os.uname().nodename} is gone (")
    assert "tiebreak retry goes on from its checkpoint; where memory ran out, " in why[4]
    assert standings(runs(4))[0].state is State.FAILED
    assert len({key for _, key in result.artefacts}) <= 4, "a worker serves many runs"


def test_told_to_stop_runs_save_and_the_rest_is_not_begun(cluster: Any) -> None:
    """Three workers have room for two: the third waits for a place, and gives up."""
    result = do(cluster, 3, 9, 10, 11, 12, begun=2, act=lambda engine, actor: engine.stop())
    assert (result.stopped, result.left, result.failed) == (3, 1, [])


def test_a_node_that_dies_is_told_and_the_rest_is_done_on_another(cluster: Any) -> None:
    def kill(engine: Any, actor: int) -> None:
        status = Path(f"/proc/{actor}/status").read_text()
        raylet = int(status.partition("PPid:")[2].split()[0])
        (node,) = [one for one in cluster.worker_nodes
                   if one.all_processes["raylet"][0].process.pid == raylet]  # fmt: skip
        cluster.remove_node(node, allow_graceful=False)

    result = do(cluster, 1, 9, 1, 2, act=kill)
    ((run, why),) = result.failed
    assert run.seed == 9 and result.done == 2
    assert why.startswith(f"its Ray worker on {os.uname().nodename} is gone (")


def test_what_no_node_has(cluster: Any) -> None:
    with pytest.raises(UserError, match="num_gpus=8: no node of the Ray cluster has as many"):
        engine_for("ray", 1, [], Path(), [f"address={cluster.address}", "num_gpus=8"])
    importlib.import_module("ray").shutdown()


HERE = """
import psutil
from pathlib import Path
from tiebreak.sweep.engines import engine_for
engine = engine_for("ray", 1, [], Path())
ports = [c.laddr.ip for p in [psutil.Process(), *psutil.Process().children(recursive=True)]
         for c in p.net_connections() if c.status == "LISTEN"]
import json; print(json.dumps(sorted(set(ports))), len(ports))
"""


def test_a_ray_of_its_own_listens_on_the_loopback_interface_alone() -> None:
    done = subprocess.run([sys.executable, "-c", HERE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    addresses, _, number = done.stdout.strip().rpartition(" ")
    assert int(number) > 3 and set(json.loads(addresses)) <= {"127.0.0.1", "::ffff:127.0.0.1"}
