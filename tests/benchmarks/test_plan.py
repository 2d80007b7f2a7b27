"""A plan of thousands reads each file once; the benchmark of it works on a few."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan
from tiebreak.compose import Run
from tiebreak.config import compose
from tiebreak.plan.estimate import estimate
from tiebreak.plan.machine import Machine
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


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened ("open") or asked about ("stat") from now on."""
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **more: Any) -> Any:
            counts[name] += 1
            return function(path, *rest, **more)

        return call

    monkeypatch.setattr(Path, "stat", counted("stat", Path.stat))
    monkeypatch.setattr(io, "open", counted("open", io.open))
    return counts


def test_the_study_has_as_many_different_runs_as_asked_for(runs: list[Run]) -> None:
    assert len(runs) == 40
    assert len({run.method_name for run in runs}) == 5 and {run.seed for run in runs} == {
        1,
        2,
        3,
        4,
    }


def test_no_run_reads_a_file_of_its_own(runs: list[Run], touched: Counter[str]) -> None:
    again = [compose.compose([*_said(run), "seed=77"]) for run in runs]
    assert {run.seed for run in again} == {77}
    assert touched == {}


def _said(run: Run) -> list[str]:
    beta = getattr(run.method, "beta")  # noqa: B009 - a hyper-parameter of these methods
    return [f"method={run.method_name}", f"scenario={run.scenario.name}", f"method.beta={beta}"]


def test_runs_that_were_not_begun_are_not_looked_for(
    home: Path, runs: list[Run], touched: Counter[str]
) -> None:
    filler = plan.Filler(home)
    for run in runs[:3]:
        filler.record(run, [])
    touched.clear()
    states = Counter(one.state for one in standings(runs))
    assert states == {State.DONE: 3, State.WAITING: 37}
    assert touched["open"] <= 3 * 2  # the status, for the state and for what it says
    assert touched["stat"] <= 3 * 4


def test_an_estimate_reads_what_is_there_once(
    home: Path, runs: list[Run], touched: Counter[str]
) -> None:
    filled = plan.fill(home, runs)
    assert filled.records == 20
    touched.clear()
    found = estimate(runs, machine=MACHINE)
    assert (len(found.runs), found.finished, found.unread) == (20, 20, 0)
    left = Counter((stage.name, stage.what) for stage in found.stages)
    assert (left["align", ""], left["evaluate", "policy"]) == (10, 20)  # 10 policies are there
    # Per record: status, manifest, config, throughput, and what it built; then the policies.
    assert touched["open"] <= 8 * filled.records + filled.artefacts


def test_many_runs_of_one_setting_cost_no_more_files(home: Path, touched: Counter[str]) -> None:
    opened = []
    for seeds in (2, 8):
        (home / "big.yaml").write_text(json.dumps(plan.study(10 * seeds, seeds)))
        touched.clear()
        estimate(read_sweep_file(str(home / "big.yaml")).runs(), machine=MACHINE)
        opened.append(touched["open"])
    assert opened[1] <= opened[0]


def test_it_runs_on_a_few(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--runs", "10", "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    assert "10 runs to do, 0 finished" in said and "10 waiting" in said
    assert "a store of 5 finished records" in said and "5 done, 5 waiting" in said


@pytest.mark.parametrize("wrong", [["--runs", "15"], ["--seeds", "0"], ["--runs", "0"]])
def test_a_number_of_runs_that_cannot_be(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        plan.parse(wrong)
