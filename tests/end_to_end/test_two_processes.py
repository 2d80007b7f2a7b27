"""`train.execution.num_processes`: a sweep whose runs are two processes each has the same table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import yaml

from tests.closeness import assert_rows_near
from tests.end_to_end.commands import BASE, Command, read_json, read_lines
from tiebreak.home import runs_dir

METHODS = ["dpo", "kto"]  # kto has a statistic over the whole batch
# Signs of differences that are 0 + rounding, and how each process cuts its share of a batch.
ROUNDED = {"reward/accuracy", "displaced/share", "positions/unique_token"}


@pytest.fixture
def study(tmp_path: Path) -> str:
    fixed = dict(one.split("=", 1) for one in BASE) | {"train.max_steps": 3}
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({"axes": {"method": METHODS}, "fixed": fixed}))
    return str(path)


@pytest.mark.slow
def test_a_sweep_of_two_processes_each_has_the_same_table(
    study: str, home: Path, tmp_path: Path, tiebreak: Command
) -> None:
    one = tiebreak("sweep", study, "--workers", "1")
    assert one.code == 0, one.err
    table = tiebreak("table", study, "--format", "csv").out
    runs_dir().rename(tmp_path / "before")
    (home / "artefacts" / "align").rename(tmp_path / "align")

    two = tiebreak("sweep", study, "train.execution.num_processes=2")
    assert two.code == 0, two.err
    assert "2 runs: 2 done now, 0 finished before, 0 failed" in two.out
    assert "Traceback" not in two.err
    again = tiebreak("table", study, "--format", "csv").out
    assert len(cells(table)) == len(cells(again)) > 2 * len(METHODS)
    for ours, theirs in zip(cells(table), cells(again), strict=True):
        assert ours == theirs or float(ours) == pytest.approx(float(theirs), rel=1e-5, abs=1e-5)
    for record in runs_dir().iterdir():
        assert read_json(record / "status.json")["status"] == "finished"
        logs = [read_lines(at / record.name / "metrics.jsonl")
                for at in (tmp_path / "before", runs_dir())]  # fmt: skip
        assert [row["step"] for row in logs[1]] == [1, 2, 3]
        for ours, theirs in zip(*logs, strict=True):
            same = ours.keys() - ROUNDED
            assert_rows_near({n: theirs[n] for n in same}, {n: ours[n] for n in same})
    assert not list(home.glob("artefacts/*/.*.work"))


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]
