"""What a run does about the processes that train for it; torchrun is pretended here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.config.quick import quick
from tiebreak import interrupt, provenance
from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.interrupt import Stopped
from tiebreak.plan.estimate import Cost, estimate, workers_for
from tiebreak.plan.speeds import Machine
from tiebreak.run import distributed
from tiebreak.run.distributed import FAILED, LOCK, RankFailed
from tiebreak.sweep.sweep_file import read_sweep_file

SAY = """
import json, os, sys
from pathlib import Path
def say(what, *values): print(json.dumps({what: values}), flush=True)
def failed(**told): Path(os.environ["TIEBREAK_WORK"], "checkpoints/failed.json").write_text(
    json.dumps({"rank": 1, "trace": "Traceback: rank 1's own", **told}))
"""
Pretend = Callable[[str], None]


class Log:
    """Keeps what it is told; `act` is called at step 1."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.began: list[object] = []
        self.steps: list[int] = []
        self.act = act

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None:
        self.began += [resumed_at, steps, checkpoints.name]

    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None:
        assert (metrics, speed) == ({"loss": 0.5}, {"seconds": 1.0})
        self.steps.append(step)
        if step == 1:
            self.act()


@pytest.fixture(scope="module")
def run() -> Run:
    return quick("train.execution.num_processes=2")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    def script(text: str) -> None:
        monkeypatch.setattr(distributed, "command", lambda num: [sys.executable, "-c", SAY + text])

    return script


STEPS = """
say("begin", 0, 2)
say("step", 1, {"loss": 0.5}, {"seconds": 1.0})
"""
WHEN_TOLD = """
sys.stdin.read()
say("step", 2, {"loss": 0.5}, {"seconds": 1.0})
say("failed", 0, 143)
sys.exit(1)
"""


def test_the_log_hears_of_every_step(run: Run, tmp_path: Path, pretend: Pretend) -> None:
    pretend(STEPS)
    log = Log()
    distributed.train(run, tmp_path, log)
    assert (log.began, log.steps) == ([0, 2, "checkpoints"], [1])


def test_told_to_stop_it_tells_them_and_hears_the_last_step(
    run: Run, tmp_path: Path, pretend: Pretend
) -> None:
    pretend(STEPS + WHEN_TOLD)
    log = Log(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with interrupt.installed(), pytest.raises(Stopped):
        distributed.train(run, tmp_path, log)
    assert log.steps == [1, 2]


def test_ctrl_c_is_heard_in_the_same_way(run: Run, tmp_path: Path, pretend: Pretend) -> None:
    pretend(STEPS + WHEN_TOLD)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    log = Log(ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        distributed.train(run, tmp_path, log)
    assert log.steps == [1, 2]


def test_nobody_trains_for_a_log_that_failed(run: Run, tmp_path: Path, pretend: Pretend) -> None:
    pretend(STEPS + "sys.stdin.read(); Path(os.environ['TIEBREAK_WORK'], 'left').touch()")

    def full() -> None:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"):
        distributed.train(run, tmp_path, Log(full))
    assert (tmp_path / "left").exists()


DEFECT = "failed(mistake=False, error='ValueError: boom')\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("failed(mistake=True, error='lower it')\nsay('failed', 1, 1); sys.exit(1)", "lower it"),
        # The others lost their connection to it, and say so.
        (DEFECT + "say('failed', 0, -9); sys.exit(1)",
         "rank 0 of 2 was killed by signal 9 (out of memory?)"),
        ("os.kill(os.getpid(), 9)", "torchrun was killed by signal 9 (out of memory?)"),
        ("say('failed', 1, 3); sys.exit(1)",
         "rank 1 of 2 ended with code 3; what it said is above"),
    ],
)  # fmt: skip
def test_an_end_without_a_trace(
    script: str, said: str, run: Run, tmp_path: Path, pretend: Pretend
) -> None:
    pretend(script)
    with pytest.raises(UserError) as caught:
        distributed.train(run, tmp_path, Log())
    assert str(caught.value) == said


def test_a_defect_keeps_its_trace(run: Run, tmp_path: Path, pretend: Pretend) -> None:
    pretend(DEFECT + "say('failed', 1, 1); sys.exit(1)")
    with pytest.raises(RankFailed) as caught:
        distributed.train(run, tmp_path, Log())
    assert str(caught.value) == "rank 1 of 2: ValueError: boom"
    assert caught.value.__notes__ == ["Traceback: rank 1's own"]
    pretend("say('failed', 1, 143); sys.exit(1)")
    with pytest.raises(Stopped):  # somebody stopped the ranks; what failed before is forgotten
        distributed.train(run, tmp_path, Log())


@pytest.mark.parametrize(
    ("codes", "rank_and_code"),
    [({0: 1, 1: -9}, (1, -9)), ({1: 1, 0: -6}, (1, 1)), ({1: 2, 0: 1}, (1, 2))],
)
def test_the_first_to_fail(codes: dict[int, int], rank_and_code: tuple[int, int]) -> None:
    assert distributed.first(codes) == rank_and_code


def test_ranks_of_a_killed_run_are_waited_for(
    run: Run, tmp_path: Path, pretend: Pretend, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    hold = (
        "import fcntl, sys, time; lock = open(sys.argv[1], 'a+'); fcntl.flock(lock, fcntl.LOCK_SH);"
        "print('held', flush=True); time.sleep(0.5); open(sys.argv[2], 'w')"
    )
    left, lock = tmp_path / "left", tmp_path / "checkpoints" / LOCK
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock, left], stdout=subprocess.PIPE
    ) as earlier:
        assert earlier.stdout is not None and earlier.stdout.readline() == b"held\n"
        pretend(f"assert Path({str(left)!r}).exists()")
        distributed.train(run, tmp_path, Log())
    assert "waiting for the processes of an earlier start to leave" in capfd.readouterr().err


def test_their_environment(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(provenance, "cpus", lambda: 6)
    found = distributed._environment(run, tmp_path)
    assert found["OMP_NUM_THREADS"] == "3" and found["GLOO_SOCKET_IFNAME"].startswith("lo")
    assert json.loads(found["TIEBREAK_TASK"])["run"] == run.resolved
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    found = distributed._environment(run, tmp_path)
    assert (found["OMP_NUM_THREADS"], found["GLOO_SOCKET_IFNAME"]) == ("5", "eth7")


def test_a_rank_that_nobody_hears_goes_on_to_its_checkpoint() -> None:
    reads, writes = os.pipe()
    assert not distributed._has_ended(reads)
    with os.fdopen(writes, "w") as file:
        os.close(reads)
        distributed.Lines(file).step(1, {}, {})
        with pytest.raises(BrokenPipeError):
            file.close()  # what it could not say
    reads, writes = os.pipe()
    os.close(writes)
    assert distributed._has_ended(reads)
    os.close(reads)


def test_the_first_rank_to_fail_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    for number, error in enumerate((ValueError("boom\nand more"), UserError("gone"))):
        monkeypatch.setenv("RANK", str(1 - number))
        distributed._failed(tmp_path / FAILED, error)
    told = json.loads((tmp_path / FAILED).read_text())
    assert (told["rank"], told["mistake"], told["error"]) == (1, False, "ValueError: boom")
    assert "and more" in told["trace"] and left == [1, 1]


@pytest.mark.parametrize(
    ("environment", "num", "said"),
    [
        ({"WORLD_SIZE": "3"}, 2, "train.execution.num_processes=2, and torchrun started 3; leave"),
        ({"WORLD_SIZE": "1"}, 2, "torchrun out, for tiebreak starts them itself, or give --nproc"),
        ({"WORLD_SIZE": "2"}, 2, None),
        ({"WORLD_SIZE": "3"}, 1, None),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500"}, 1, "accelerate launch was"),
        ({"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}, 1, "ACCELERATE_USE_FSDP is not read"),
        ({"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "false"}, 1, None),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500"}, 2, None),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 1, None),
    ],
)
def test_a_launcher_that_starts_another_number(
    environment: dict[str, str], num: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = quick(f"train.execution.num_processes={num}")
    if said is None:
        return distributed.check(asked)
    with pytest.raises(UserError) as caught:
        distributed.check(asked)
    assert said in str(caught.value)


def test_workers_are_as_many_as_have_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "cpus", lambda: 8)
    one, three = quick(), quick("train.execution.num_processes=3")
    assert (workers_for(None, [one]), workers_for(None, [one, three])) == (8, 2)
    monkeypatch.setattr(provenance, "cpus", lambda: 2)
    assert workers_for(None, [three]) == 1
    assert workers_for(None, [quick("train.execution.num_threads=null")]) == 1


def test_a_plan_counts_their_threads_and_memory(tmp_path: Path) -> None:
    host = {"cpus": 8, "devices": []}

    def cost(run: Run, devices: tuple[str, ...]) -> Cost:
        found = estimate([run], root=tmp_path, machine=Machine(host, 2**36, 2**40, devices))
        return next(needed.cost for needed in found.stages if needed.stage.name == "align")

    one, two = (quick(f"train.execution.num_processes={num}") for num in (1, 2))
    for devices, memories in ((), 2), (("A", "A"), 1):  # a device has a memory of its own
        alone, both = cost(one, devices), cost(two, devices)
        assert alone.seconds and both.seconds == pytest.approx(alone.seconds / 2)
        assert alone.memory and both.memory == memories * alone.memory


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "train.execution.num_processes=0 must be above 0"),
        ("1.5", "train.execution.num_processes=1.5 is not a whole number"),
    ],
)
def test_a_number_that_is_none(value: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        quick(f"train.execution.num_processes={value}")


def test_a_search_that_looks_inside_one_process(tmp_path: Path) -> None:
    text = "axes: {method: [dpo]}\nfixed: {tracker: none}\nsearch: {trials: 2, pruner: %s}\n"
    (tmp_path / "a.yaml").write_text(text % "asha")
    two = ["train.execution.num_processes=2"]
    with pytest.raises(UserError, match="give search.pruner=none in the sweep, or train.execution"):
        read_sweep_file(str(tmp_path / "a.yaml"), two).runs()
    assert read_sweep_file(str(tmp_path / "a.yaml")).runs()
    (tmp_path / "a.yaml").write_text(text % "none")
    assert read_sweep_file(str(tmp_path / "a.yaml"), two).runs()
