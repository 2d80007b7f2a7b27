"""A launcher changes where runs are done, and nothing in their table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from analysis import runs as records
from tests.end_to_end.commands import MICRO, Answer, call


@pytest.fixture
def study(tmp_path: Path) -> str:
    fixed = dict(one.split("=", 1) for one in MICRO) | {"train.max_steps": 2}
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({"axes": {"method": ["dpo", "simpo"]}, "fixed": fixed}))
    return str(path)


def swept(home: Path, study: str, *options: str) -> Answer:
    done = call(home, "sweep", study, *options)
    assert done.code == 0, done.err
    assert "2 runs: 2 done now, 0 finished before, 0 failed" in done.out
    return call(home, "table", study, "--format", "csv")


@pytest.mark.slow
def test_joblib_gives_the_table_of_the_local_engine(study: str, home: Path, tmp_path: Path) -> None:
    """The one has the start model, the other makes it in a first wave."""
    local = swept(home, study, "--workers", "1")
    through = swept(tmp_path / "other", study, "--engine", "joblib", "--workers", "2")
    assert local.code == 0 and through.out == local.out
    jobs = tmp_path / "other" / ".tiebreak" / "sweeps" / "two" / "jobs"
    assert sorted(one.name for one in jobs.iterdir()) == ["0", "1"]
    assert len(records.load(tmp_path / "other" / "runs").records) == 2
