"""A sweep with two workers: one run fails, the rest is done; a second sweep does what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.end_to_end.commands import MICRO, Command
from tiebreak.sweep import sweep_file as sweeps
from tiebreak_analysis.records import runs as records


@pytest.fixture
def study(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two good runs that share their SFT, one of them done before, and one that is lost."""
    fixed = dict(one.split("=", 1) for one in MICRO) | {"train.max_grad_norm": 1e9}
    axes = {"train.learning_rate": [5e-4, 1e30], "seed": [1, 3]}
    (tmp_path / "both-ways.yaml").write_text(yaml.safe_dump({"axes": axes, "fixed": fixed}))
    monkeypatch.setattr(sweeps, "shipped", lambda folder: tmp_path)
    return "both-ways"


def test_a_failing_run_does_not_stop_the_rest(study: str, home: Path, tiebreak: Command) -> None:
    first = tiebreak("sweep", study, "--workers", "2", "train.max_steps=4")
    assert first.code == 1, first.err
    assert "4 runs: 2 done now, 0 finished before, 2 failed" in first.out
    failed = [line for line in first.out.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "seed 1" in "".join(failed) and "seed 3" in "".join(failed)
    assert all("became nan at step 3" in line for line in failed)
    assert f"records: {home / 'runs'}" in first.out
    # Four runs, two seeds: each SFT once (one was there), the base once, for the whole sweep.
    lines = dict(line.split(maxsplit=1) for line in first.out.splitlines() if " built " in line
                 and not line.startswith("stages"))  # fmt: skip
    assert lines["sft"].split() == ["1", "built", "1", "reused"]
    assert lines["align"].split() == ["2", "built", "0", "reused"]
    assert lines["tokens"].split()[:2] == ["0", "built"] or "pretrain" in lines
    assert "Traceback" not in first.err

    second = tiebreak("sweep", study, "--workers", "1", "train.max_steps=4")
    assert second.code == 1
    assert "4 runs: 0 done now, 2 finished before, 2 failed" in second.out
    assert second.out.count("(before; see tiebreak retry)") == 2 and "[1/" not in second.out
    standing = tiebreak("status", study, "train.max_steps=4").out
    assert "both-ways: 4 runs: 2 done, 2 failed" in standing
    assert "do the failed ones again with: tiebreak retry both-ways" in standing
    third = tiebreak("retry", study, "--workers", "1", "train.max_steps=4")
    assert third.code == 1 and "[2/2] " in third.out, "only the failed ones are done again"
    found = [record.status for record in records.load(home / "runs").records]
    assert sorted(found) == ["failed", "failed", "finished", "finished", "finished"]

    good = tiebreak("sweep", study, "train.learning_rate=5e-4", "train.max_steps=4")
    assert good.code == 0 and "2 runs: 0 done now, 2 finished before, 0 failed" in good.out
