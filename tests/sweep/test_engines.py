"""The engines: found by name, refused before the first run, and every reply arrives.

SLURM is pretended here by five small programs, which start a job's script at once. The real one is
in tests/slurm, and a Ray of three nodes in test_ray.py.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak.compose import Run, compose
from tiebreak.errors import UserError
from tiebreak.sweep.engines import ENGINES, engine_for, slurm
from tiebreak.sweep.engines.local import Pool
from tiebreak.sweep.tasks import Grid, State, SweepResult, Task, standings, sweep

# Seed 2 is a run that fails, seed 3 kills its process, seed 9 waits until it is told to stop.
CHILD = """
import json, os, signal, sys, time
for line in sys.stdin:
    seed = json.loads(line)["run"]["seed"]
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    def leave(*_):
        print(json.dumps({"stopped": True}), flush=True)
        os._exit(143)
    signal.signal(signal.SIGTERM, leave)
    if seed == 9:
        open(os.environ["TIEBREAK_HOME"] + "/begun", "w").close()
        time.sleep(60)
    error = {"error": "the loss became nan"} if seed == 2 else {}
    print(json.dumps({"artefacts": [["align", str(os.getpid()), False]], **error}), flush=True)
"""
# Python imports a module of this name at every start: it reaches the processes of any engine.
REPLACE = """
import sys
from tiebreak.sweep.engines import local
local.command = lambda what: [sys.executable, "-I", "-c", {child!r}]
"""
SBATCH = """#!{python}
import os, re, subprocess, sys
text = open(sys.argv[1]).read()
if "--partition=nowhere" in text:
    sys.exit("sbatch: error: invalid partition specified: nowhere")
array, folder = re.search(r"--array=0-(\\d+)", text), os.path.dirname(sys.argv[0])
for number in range(int(array[1]) + 1 if array else 1):
    env = {{**os.environ, "SLURM_JOB_ID": "7"}}
    if array:
        env |= {{"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(number)}}
    out = open(f"{{folder}}/log-{{number}}", "w")
    job = subprocess.Popen(["bash", sys.argv[1]], env=env, stdout=out, stderr=out)
    open(f"{{folder}}/{{job.pid}}.job", "w").close()
print("Submitted batch job 7")
"""
SQUEUE = """#!/bin/sh
for job in $(ls {folder} | sed -n 's/[.]job$//p'); do
    grep -q 'State:.[RSD]' /proc/$job/status 2>/dev/null && echo $job
done
true
"""
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
for n in 0 1 2 3 4 5; do echo "7_$n|${{STATE:-COMPLETED}}|here"; done
echo "7|${{STATE:-COMPLETED}}|here"
"""
SRUN = '#!/bin/sh\nshift 5\nexec "$@"\n'  # --unbuffered --output FILE --error FILE


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    home = tmp_path / "it's a home"
    home.mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(REPLACE.format(child=CHILD))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    monkeypatch.setenv("TIEBREAK_HOME", str(home))
    monkeypatch.setattr(slurm, "unmade", lambda run: None)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    return home


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {"sbatch": SBATCH, "squeue": SQUEUE, "sacct": SACCT, "srun": SRUN,
                "scancel": "#!/bin/sh\n"}  # fmt: skip
    for name, text in programs.items():
        if name != "srun":
            text = text.format(python=sys.executable, folder=folder)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def runs(*seeds: int) -> list[Run]:
    return [compose(["tracker=none", f"seed={seed}"]) for seed in seeds]


def do(home: Path, *seeds: int, settings: tuple[str, ...] = ()) -> tuple[SweepResult, list[str]]:
    said: list[str] = []
    engine = engine_for("slurm", 2, [], home / "jobs", settings)
    return sweep("mine", Grid(runs(*seeds)), engine, said.append), said


def test_every_other_reply_arrives(home: Path, cluster: Path) -> None:
    result, said = do(home, 1, 2, 3)
    assert result.done == 1 and len(said) == 3
    killed = "its process was killed by signal 9 (out of memory?)"
    assert {run.seed: why for run, why in result.failed} == {2: "the loss became nan", 3: killed}
    states = [standing.state for standing in standings(runs(2, 3, 1))]
    assert states == [State.FAILED, State.FAILED, State.WAITING], "the pretended one has no record"
    assert len((home / "jobs" / "0" / "tasks.jsonl").read_text().splitlines()) == 3


def test_told_to_stop_a_run_saves_a_checkpoint(home: Path, cluster: Path) -> None:
    engine = engine_for("slurm", 2, [], home / "jobs")

    def stop() -> None:
        while not (home / "begun").exists():
            time.sleep(0.1)
        engine.stop()

    other = threading.Thread(target=stop)
    other.start()
    result = sweep("mine", Grid(runs(9)), engine, print)
    other.join()
    assert (result.stopped, result.failed) == (1, [])


def test_a_job_that_the_cluster_ends_is_explained(
    home: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's processes are killed, and accounting knows what for."""
    monkeypatch.setenv("STATE", "OUT_OF_MEMORY")

    def kill() -> None:
        while not (home / "begun").exists():
            time.sleep(0.1)
        for job in cluster.glob("*.job"):
            os.kill(int(job.stem), signal.SIGKILL)

    other = threading.Thread(target=kill)
    other.start()
    result, _ = do(home, 9)
    other.join()
    ((run, why),) = result.failed
    assert why == (
        "its SLURM job ended as OUT_OF_MEMORY; give it more memory: --launcher mem_gb=GB; see "
        f"{home / 'jobs' / '0' / '0.log'}"
    )
    assert standings([run])[0].state is State.FAILED


def test_settings_go_to_the_cluster(home: Path, cluster: Path) -> None:
    """One job alone is no array."""
    settings = ("partition=gpu", "mem_gb=32", "timeout_min=240", "name=mine")
    assert do(home, 1, settings=settings)[0].done == 1
    text = next((home / "jobs" / "0" / "submitit").glob("*.sh")).read_text()
    for line in ("partition=gpu", "mem=32GB", "time=240", "signal=TERM@90", "job-name=mine-"):
        assert f"#SBATCH --{line}" in text


def test_what_the_cluster_refuses(home: Path, cluster: Path) -> None:
    with pytest.raises(UserError, match="--engine slurm did no run: .*invalid partition"):
        do(home, 1, settings=("partition=nowhere",))
    assert standings(runs(1))[0].state is State.WAITING
    with pytest.raises(UserError, match="--launcher: Unknown argument 'nonsense'.* partition"):
        do(home, 1, settings=("nonsense=1",))
    with pytest.raises(UserError, match="timeout_min=4:00:00 must be whole minutes, as in 240"):
        do(home, 1, settings=("timeout_min=4:00:00",))


def test_one_run_of_each_start_model_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: dict[int, str | None] = {1: "a", 2: "a", 3: None, 4: "b"}
    monkeypatch.setattr(slurm, "unmade", lambda run: starts[run.seed])
    waves = slurm.waves([Task(run) for run in runs(1, 2, 3, 4)])
    assert [[task.run.seed for task in wave] for wave in waves] == [[1, 4], [2, 3]]
    monkeypatch.setattr(slurm, "unmade", lambda run: None)
    assert [len(wave) for wave in slurm.waves([Task(run) for run in runs(1, 2)])] == [2]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def test_refusals(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(name: str, *settings: str) -> Callable[[], object]:
        return lambda: engine_for(name, 1, [], home, settings)

    assert {"local", "ray", "slurm"} <= set(ENGINES)
    assert "--engine slrm (nearest: 'slurm')" in refused(ask("slrm"))
    assert refused(ask("submitit_slurm")).endswith("give --engine slurm")
    assert "no setting of --engine local; it has none" in refused(ask("local", "partition=gpu"))
    assert "give KEY=VALUE" in refused(ask("slurm", "partition"))
    assert "num_cpus=many must be a number" in refused(ask("ray", "num_cpus=many"))
    assert isinstance(ask("local")(), Pool)

    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    assert refused(ask("ray")) == (
        "--engine ray needs ray; install it: pip install 'tiebreak[ray]'"
    )
    monkeypatch.setenv("PATH", str(home))
    assert "there is no sbatch here" in refused(ask("slurm"))
    (home / "sacct").write_text("#!/bin/sh\necho no database >&2\nexit 1\n")
    for name in ("sbatch", "srun", "squeue", "scancel"):
        (home / name).touch()
    for name in ("sbatch", "srun", "squeue", "scancel", "sacct"):
        (home / name).chmod(0o755)
    assert "sacct fails (no database); without" in refused(ask("slurm"))
