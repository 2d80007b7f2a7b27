"""A home that an earlier version left: it is read, nothing in it is trained again, its tables stay.

tests/frozen/make.py made it. What is added later (keys with defaults, evaluators, sources, a new
version of an evaluator) must leave it so; docs/extending.md is added here as one such change.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.end_to_end import test_extending as extending
from tests.end_to_end.commands import Answer
from tests.frozen.make import LORA

HOME = Path(__file__).parent / "frozen" / "home"


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is."""
    return extending.ROOT


@pytest.fixture(scope="module")
def tomorrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with everything that docs/extending.md adds, and a new version of `gold`."""
    folder = tmp_path_factory.mktemp("tomorrow")
    for name in ("src", "conf", "sweeps", "analysis"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(extending.ROOT / name, folder / name, symlinks=True, ignore=ignored)
    shutil.copy(extending.ROOT / "pyproject.toml", folder)
    for section in extending.AT_MOST:
        extending.add(folder, section)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HOME, tmp_path / "home"))


def tiebreak(project: Path, home: Path, *arguments: str) -> Answer:
    return extending.say(project, home, "-m", "tiebreak.cli", *arguments, cwd=home)


def trained(home: Path) -> dict[str, int]:
    """Artefacts by stage, and when each was written."""
    return {
        str(path.relative_to(home)): path.stat().st_mtime_ns
        for stage in ("pretrain", "sft", "reference", "align")
        for path in (home / "artefacts" / stage).glob("[!.]*")
    }


@pytest.mark.parametrize("version", ["today", "tomorrow"])
def test_finished_runs_stay_finished_and_their_tables_equal(
    version: str, home: Path, request: pytest.FixtureRequest
) -> None:
    project: Path = request.getfixturevalue(version)
    before = trained(home)
    for name, number in (("sweep", 4), ("search", 3)):
        status = tiebreak(project, home, "status", f"{name}.yaml")
        assert status.out.splitlines()[0] == f"{name}: {number} runs: {number} done", status.err
        swept = tiebreak(project, home, "sweep", f"{name}.yaml")
        assert f"{number} runs: 0 done now, {number} finished before, 0 failed" in swept.out
        assert "stages: 0 built" in swept.out
        table = tiebreak(project, home, "table", f"{name}.yaml")
        assert table.out == (HOME / f"{name}.md").read_text(), table.err
    lora = tiebreak(project, home, "run", *LORA)
    assert "this run is done" in lora.out, lora.err
    assert trained(home) == before


def test_an_evaluator_that_is_added_runs_alone(tomorrow: Path, home: Path) -> None:
    before = trained(home)
    swept = tiebreak(tomorrow, home, "sweep", "sweep.yaml", "evaluation=quiz",
                     "evaluation.num_prompts=4", "evaluation.max_new_tokens=8")  # fmt: skip
    assert "4 runs: 4 done now, 0 finished before, 0 failed" in swept.out, swept.err
    built = {line.split()[0]: int(line.split()[1])
             for line in swept.out.splitlines() if " built " in line and "reused" in line
             and not line.startswith("stages")}  # fmt: skip
    assert {stage for stage, number in built.items() if number} == {"quiz"}
    assert built["quiz"] == 4 + 2, "each policy, and each start model once"
    assert trained(home) == before
    table = tiebreak(tomorrow, home, "table", "sweep.yaml", "--metrics", "quiz/accuracy")
    assert "quiz/accuracy (%)" in table.out


def test_a_new_version_of_an_evaluator_measures_again_and_trains_nothing(
    tomorrow: Path, home: Path, tmp_path: Path
) -> None:
    newer = Path(shutil.copytree(tomorrow, tmp_path / "newer", symlinks=True))
    gold = newer / "src" / "tiebreak" / "stages" / "evaluators" / "gold.py"
    text = gold.read_text()
    assert "applies=_is_known" in text
    gold.write_text(text.replace("applies=_is_known", "applies=_is_known, version=2"))
    before = trained(home)
    status = tiebreak(newer, home, "status", "sweep.yaml")
    assert status.out.splitlines()[0] == "sweep: 4 runs: 4 to be evaluated", status.err
    swept = tiebreak(newer, home, "sweep", "sweep.yaml")
    assert "4 runs: 4 done now" in swept.out and "gold           6 built    0 reused" in swept.out
    assert "stages: 6 built" in swept.out and trained(home) == before
