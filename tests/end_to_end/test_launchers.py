"""An engine changes where runs are done, and nothing in their table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.commands import MICRO, Answer, call, slurm_is_up
from tiebreak_analysis.records import runs as records

AXES = {"scenario": ["align-from-base", "sft-then-align"], "method": ["dpo", "simpo"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    fixed = dict(one.split("=", 1) for one in MICRO) | {"train.max_steps": 2}
    path = tmp_path_factory.mktemp("study") / "four.yaml"
    path.write_text(yaml.safe_dump({"axes": AXES, "fixed": fixed}))
    return str(path)


def swept(home: Path, study: str, *options: str) -> Answer:
    done = call(home, "sweep", study, *options)
    assert done.code == 0, done.err
    assert "4 runs: 4 done now, 0 finished before, 0 failed" in done.out
    return call(home, "table", study, "--format", "csv")


@pytest.fixture(scope="module")
def local_table(study: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    table = swept(tmp_path_factory.mktemp("local"), study, "--workers", "2")
    assert table.code == 0
    return table.out


NEEDS = {"slurm": slurm_is_up(), "ray": importlib.util.find_spec("ray") is not None}


@pytest.mark.slow
@pytest.mark.parametrize("engine", NEEDS)
def test_every_engine_gives_the_table_of_the_local_one(
    engine: str, study: str, local_table: str, tmp_path: Path
) -> None:
    if not NEEDS[engine]:
        pytest.skip(f"{engine} is not here; see docs/scale.md and tests/slurm")
    home = tmp_path / "home"
    table = swept(home, study, "--engine", engine, "--workers", "2")
    assert table.out == local_table
    assert len(records.load(home / "runs").records) == 4
    if engine == "slurm":  # the base model and SFT in a first wave: no job waits for another's
        jobs = home / ".tiebreak" / "sweeps" / "four" / "jobs"
        assert sorted(one.name for one in jobs.iterdir()) == ["0", "1"]
