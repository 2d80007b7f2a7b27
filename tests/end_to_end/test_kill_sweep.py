"""The proof of benchmarks/kill_sweep.py, short: two runs, three kills; and that it can fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import kill_sweep
from benchmarks.kill_sweep import AXES, FIXED, FORMATS, Sweep
from tests.end_to_end.commands import MICRO, Command

FEW = {"scenario": ["align-from-base"], "method": ["dpo", "ipo"], "seed": [1]}


@pytest.mark.slow
def test_three_kills_change_nothing(
    prepared: Path, tmp_path: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tables(one: Sweep) -> list[str]:  # in this process: each of its own costs seconds
        monkeypatch.setenv("TIEBREAK_HOME", str(one.home))
        return [tiebreak("table", str(one.path), "--format", f).out for f in FORMATS]

    monkeypatch.setattr(Sweep, "tables", tables)
    said: list[str] = []
    given = prepared / "artefacts" / "pretrain"
    found = kill_sweep.prove(3, 1, tmp_path, FEW, said.append, workers=1, given=given)
    lines = list(found.lines())
    assert found.wrong == [], lines
    assert 1 <= len(found.at) == len(said) <= 3 and found.working
    assert found.most_unsaved <= 3, "a checkpoint every second step, and the one it was at"
    assert lines[-1] == "result: the same; nothing was made twice"


def test_the_sweep_of_the_proof() -> None:
    """The sizes are those of the other tests, so that what was pretrained can be shared."""
    runs = [len(values) for values in AXES.values()]
    assert runs == [2, 3, 2]
    assert set(FIXED) <= set(MICRO)
    left = {one.partition("=")[0] for one in set(MICRO) - set(FIXED)}
    assert left == {"model.instruct_tuning.examples"}, "of a scenario that is not in the proof"


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Sweep:
    shutil.copytree(prepared, tmp_path / "home")
    return Sweep(tmp_path / "any.yaml", tmp_path / "home")


def test_what_is_written_again_is_seen(home: Sweep) -> None:
    before = home.settled()
    assert kill_sweep.changed(before, home.settled()) == []
    (result,) = home.home.glob("runs/*/evaluations/*/result.json")
    text = result.read_bytes()
    result.unlink()
    (weights,) = home.home.glob("artefacts/align/*/model.safetensors")
    shutil.copy(weights, weights.with_suffix(".copy"))
    weights.with_suffix(".copy").rename(weights)
    wrong = kill_sweep.changed(before, home.settled())
    assert f"{weights} was written again after it was complete" in wrong
    assert f"{result} was removed after it was complete" in wrong
    result.write_bytes(text)
    assert f"{result} was written again after it was complete" in kill_sweep.changed(
        before, home.settled()
    )


def test_what_differs_is_seen(home: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sweep, "tables", lambda one: ["csv", "md"])
    shutil.copytree(home.home, tmp_path / "other")
    other = Sweep(home.path, tmp_path / "other")
    assert list(kill_sweep.compare(home, other)) == []
    (listed,) = other.home.glob("artefacts/align/*/artefact.json")
    about = json.loads(listed.read_text())
    about["files"]["model.safetensors"]["sha256"] = "0" * 64
    listed.write_text(json.dumps(about))
    (other.home / "artefacts" / "align" / ".0.work").mkdir()
    said = list(kill_sweep.compare(home, other))
    assert said == [
        f"artefact align/{listed.parent.name} is not the same in both homes",
        f"{other.home}/artefacts/align/.0.work was left behind",
    ]
    monkeypatch.setattr(Sweep, "tables", lambda one: [one.home.name, "md"])
    assert "the csv tables differ" in next(kill_sweep.compare(home, other))
