"""A plan of thousands reads each file once; the benchmark of it works on a few."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan
from tiebreak.compose import Run, compose
from tiebreak.plan.estimate import estimate
from tiebreak.plan.speeds import Machine
from tiebreak.sweep.sweep_file import read_sweep_file
from tiebreak.sweep.tasks import State, standings

HOST = {"system": "Linux", "machine": "x86_64", "cpus": 2, "memory_gib": 8.0, "devices": []}
MACHINE = Machine(HOST, memory=8 * 2**30, free=2**40)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def runs(home: Path) -> list[Run]:
    (home / "big.yaml").write_text(json.dumps(plan.study(40, 4)))
    return read_sweep_file(str(home / "big.yaml")).runs()


OPENED: Counter[str] | None = None  # counts while a test asks for it


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if OPENED is not None and event == "open" and not str(arguments[0]).endswith((".py", ".pyc")):
        OPENED[str(arguments[0])] += 1


@pytest.fixture(scope="module")
def audited() -> None:
    sys.addaudithook(_count)  # Python tells of each file that is opened


@pytest.fixture
def opened(audited: None, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened from now on."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(sys.modules[__name__], "OPENED", counts)
    return counts


def test_the_study_has_as_many_different_runs_as_asked_for(runs: list[Run]) -> None:
    assert len(runs) == len({run.run_id for run in runs}) == 40
    assert len({run.method_name for run in runs}) == 5
    assert {run.seed for run in runs} == {1, 2, 3, 4}


def test_no_run_reads_a_file_of_its_own(runs: list[Run], opened: Counter[str]) -> None:
    again = [compose([*_said(run), "seed=77"]) for run in runs]
    assert {run.seed for run in again} == {77}
    assert opened == {}


def _said(run: Run) -> list[str]:
    beta = getattr(run.method, "beta")  # noqa: B009 - a hyper-parameter of these methods
    return [f"method={run.method_name}", f"scenario={run.scenario.name}", f"method.beta={beta}"]


def test_runs_that_were_not_begun_are_not_looked_for(
    home: Path, runs: list[Run], opened: Counter[str]
) -> None:
    filler = plan.Filler(home)
    for run in runs[:3]:
        filler.record(run, [])
    opened.clear()
    states = Counter(one.state for one in standings(runs))
    assert states == {State.DONE: 3, State.WAITING: 37}
    begun = {str(home / "runs" / run.run_id) for run in runs[:3]}
    assert {next((r for r in begun if path.startswith(r)), path) for path in opened} == begun
    assert sum(opened.values()) <= 3 * 2  # the result; the status, for what it says


def test_an_estimate_reads_what_is_there_once(
    home: Path, runs: list[Run], opened: Counter[str]
) -> None:
    filled = plan.fill(home, runs)
    assert filled.records == 20
    opened.clear()
    found = estimate(runs, machine=MACHINE)
    assert (len(found.runs), found.finished, found.unread) == (20, 20, 0)
    left = Counter((needed.stage.name, needed.stage.what) for needed in found.stages)
    assert (left["align", ""], left["pairs", "policy"]) == (10, 20)  # 10 policies are there
    below = Counter({path: times for path, times in opened.items() if path.startswith(str(home))})
    shared = {path for path, times in below.items() if times > 1}
    assert all(path.endswith("artefact.json") for path in shared), "records tell of it, too"
    # Per record: result, manifest, config, throughput, and what it built; then the policies.
    assert sum(below.values()) <= 4 * filled.records + 14 * filled.records + filled.artefacts


def test_many_runs_of_one_setting_cost_no_more_files(home: Path, opened: Counter[str]) -> None:
    counts = []
    for seeds in (2, 8):
        (home / "big.yaml").write_text(json.dumps(plan.study(10 * seeds, seeds)))
        opened.clear()
        estimate(read_sweep_file(str(home / "big.yaml")).runs(), machine=MACHINE)
        counts.append(opened.total())
    assert counts[1] <= counts[0]


def test_it_runs_on_a_few(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--runs", "10", "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "10 runs to do, 0 finished" in said and "10 waiting" in said
    assert "a store of 5 finished records" in said and "5 done, 5 waiting" in said


@pytest.mark.parametrize("wrong", [["--runs", "15"], ["--seeds", "0"], ["--runs", "0"]])
def test_a_number_of_runs_that_cannot_be(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        plan.parse(wrong)
