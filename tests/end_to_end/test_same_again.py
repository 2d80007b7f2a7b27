"""The same run gives the same bytes; what changes a run changes its id."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.closeness import assert_rows_near
from tests.end_to_end.commands import (
    MICRO,
    Command,
    call,
    differing,
    only_run,
    read_lines,
    result_of,
)


def test_two_homes_give_the_same_bytes(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")  # another order of sets
    again = call(tmp_path / "other home", "run", *MICRO)
    assert again.code == 0, again.err
    assert differing(only_run(prepared), again.record) == []
    assert again.record.name == only_run(prepared).name
    weights = "artefacts/align/*/model.safetensors"
    (ours,), (theirs,) = prepared.glob(weights), (tmp_path / "other home").glob(weights)
    assert ours.read_bytes() == theirs.read_bytes()


def test_another_seed_changes_data_order_and_result(home: Path, tiebreak: Command) -> None:
    before = only_run(home)
    other = tiebreak("run", *MICRO, "seed=2")
    assert other.code == 0, other.err
    assert other.record != before
    both = [result_of(run) for run in (before, other.record)]
    assert both[0]["group_id"] == both[1]["group_id"]
    assert both[0]["metrics"] != both[1]["metrics"]
    # One scale for both start models: lengths are of the rows, so another order is seen here.
    lengths = [[row["length/chosen"] for row in read_lines(run / "metrics.jsonl")]
               for run in (before, other.record)]  # fmt: skip
    assert lengths[0] != lengths[1]
    assert abs(sum(lengths[0]) - sum(lengths[1])) < 1e-9 * sum(lengths[0])


def test_layout_of_the_work_does_not_change_the_result(home: Path, tiebreak: Command) -> None:
    """Cuts and checkpoints are execution: same run id, so a second home is needed to see it."""
    finished, kept = only_run(home), home.parent / "before"
    finished.rename(kept)
    for stage in ("align", "reference"):
        for artefact in (home / "artefacts" / stage).iterdir():
            artefact.rename(home.parent / f"{stage}{artefact.name}")
    again = tiebreak(
        "run", *MICRO, "train.execution.positions_per_cut=300", "train.execution.head_chunk=64",
        "train.execution.checkpoint_every=5",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert again.record == finished
    ours, theirs = read_lines(kept / "metrics.jsonl"), read_lines(finished / "metrics.jsonl")
    counted = "positions/unique_token"  # padding: that is what changes
    signs = {"reward/accuracy", "displaced/share"}  # of differences that are 0 up to rounding
    for one, other in zip(ours, theirs, strict=True):
        compared = one.keys() - {counted, *signs}
        assert_rows_near({n: other[n] for n in compared}, {n: one[n] for n in compared})
    assert ours[0][counted] != theirs[0][counted]
