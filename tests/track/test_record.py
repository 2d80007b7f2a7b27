"""The record: whole files or none, logs that survive a kill, and one writer at a time."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiebreak.errors import UserError
from tiebreak.track import record as records
from tiebreak.track.record import (
    Record,
    is_finished,
    is_live,
    read_manifest,
    read_result,
    read_status,
)

MANIFEST = {
    "run_id": "0123456789ab",
    "group_id": "ba9876543210",
    "seed": 1,
    "names": {"model": "tiny", "method": "dpo", "scenario": "align-from-base", "data": "world"},
    "versions": {"torch": "1"},
    "git": {"commit": "c", "dirty": False},
    "host": {"cpus": 2},
}
RESULT = {"metrics": {"gold/reward": 0.1}, "start": {"model": "h", "metrics": {"gold/reward": 0.0}}}
WRITER = f"""
import sys, time
from pathlib import Path
from tiebreak.track.record import Record
record = Record.open(Path(sys.argv[1]), "seed: 1\\n", {MANIFEST!r})
record.status("running", stage="align", step=2, steps=9, last_checkpoint="checkpoint-1")
record.metrics(1, {{"loss": 0.5}})
record.metrics(2, {{"loss": 0.25}})
record.throughput(2, {{"seconds": 1.5}})
print("written", flush=True)
time.sleep(60)
"""


def opened(folder: Path, **changes: object) -> Record:
    return Record.open(folder / "run", "seed: 1\n", {**MANIFEST, **changes})


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / name).read_text().splitlines()]


def test_a_whole_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with opened(tmp_path) as record:
        assert read_status(run) is None and not is_finished(run)
        record.status("running", stage="align", step=0, steps=1)
        record.metrics(1, {"loss": 0.1, "drift/chosen": -1e-09})
        record.throughput(1, {"seconds": 2.0})
        record.update_manifest(hashes={"data": "d"})
        record.write_jsonl("generations.jsonl", [{"id": "é", "before": "a\u2028b", "after": "c"}])
        assert not is_finished(run)
        record.finish(RESULT)
    assert is_finished(run)
    assert (run / "config.yaml").read_text() == "seed: 1\n"
    assert (run / "metrics.jsonl").read_text() == (
        '{"drift/chosen": -1e-09, "loss": 0.1, "step": 1}\n'
    )
    of_run = {"run_id": "0123456789ab", "group_id": "ba9876543210", "seed": 1}
    assert read_result(run) == {"format": 2, **of_run, **RESULT}
    manifest = read_manifest(run)
    assert manifest["hashes"] == {"data": "d"} and manifest["names"] == MANIFEST["names"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["times"]["finished"])
    status = read_status(run)
    assert status is not None and status["status"] == "finished" and status["step"] is None
    assert [p.name for p in run.iterdir() if p.name.endswith(".tmp")] == []


def test_killed_run_is_reopened_and_cut_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "written\n"
    assert is_live(run)
    with pytest.raises(UserError, match="another process is running"):
        opened(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not is_live(run)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]  # flushed
    status = read_status(run)
    assert status is not None and status["last_checkpoint"] == "checkpoint-1"
    with opened(tmp_path) as record:
        record.cut_back(1)
        assert rows(tmp_path) == [{"step": 1, "loss": 0.5}]
        assert rows(tmp_path, "throughput.jsonl") == []
        record.metrics(2, {"loss": 0.25})
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step": 3}', '{"step": 3, "x": "\xe9'])
def test_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    with opened(tmp_path) as record:
        record.metrics(1, {"loss": 1.0})
    with open(tmp_path / "run" / "metrics.jsonl", "ab") as stream:
        stream.write(torn.encode()[:-1])
    with opened(tmp_path) as record:
        assert [row["step"] for row in rows(tmp_path)] == [1]
        record.metrics(2, {"loss": 0.5})
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_damage_inside_a_log_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\nnoise\n{"step": 2}\n')
    with pytest.raises(UserError, match="metrics.jsonl is damaged"):
        opened(tmp_path)
    assert not is_live(tmp_path / "run")  # the refused opening let go


def test_cut_back_to_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.cut_back(0)
        record.metrics(1, {})
        record.cut_back(0)
        assert rows(tmp_path) == []
        record.metrics(1, {})


def test_steps_go_forward(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.metrics(2, {"loss": 0.0})
        with pytest.raises(AssertionError, match="step 2 after step 2"):
            record.metrics(2, {"loss": 0.0})


def test_reopening_keeps_what_came_before(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "run" / "manifest.json"
    before = json.loads(path.read_text())
    before["times"]["started"] = "2001-01-01T00:00:00Z"
    path.write_text(json.dumps(before))
    opened(tmp_path).close()
    assert read_manifest(tmp_path / "run")["times"]["started"] == "2001-01-01T00:00:00Z"
    assert "earlier" not in read_manifest(tmp_path / "run")
    opened(tmp_path, versions={"torch": "2"}).close()
    manifest = read_manifest(tmp_path / "run")
    assert manifest["versions"] == {"torch": "2"}
    assert [old["versions"] for old in manifest["earlier"]] == [{"torch": "1"}]


def test_other_format_and_other_run_are_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(UserError, match="holds run 0123456789ab, not ffff"):
        opened(tmp_path, run_id="ffff")
    path = tmp_path / "run" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    with pytest.raises(UserError, match="format 1, expected 2; move it away or set TIEBREAK_HOME"):
        opened(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="manifest.json is not JSON"):
        opened(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_not_a_number_is_refused_and_nothing_written(tmp_path: Path, number: float) -> None:
    with opened(tmp_path) as record:
        with pytest.raises(UserError, match=f"step 1: loss is {number}; nothing was written"):
            record.metrics(1, {"loss": number})
        with pytest.raises(UserError, match=f"result.json: metrics.a/b is {number}"):
            record.finish({**RESULT, "metrics": {"a/b": number}})
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not is_finished(tmp_path / "run")


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as record:
        record.write_json("a.json", {"x": 1})

        def full(source: Path, target: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(records.os, "replace", full)
        with pytest.raises(UserError, match="No space left"):
            record.write_json("a.json", {"x": 2})
    assert json.loads((tmp_path / "run" / "a.json").read_text()) == {"x": 1}


def test_parquet_is_deterministic_and_keeps_missing_values(tmp_path: Path) -> None:
    import pyarrow.parquet

    columns = {"id": ["a", "b"], "logp/chosen/before": [-1.5, None], "correct": [True, False]}
    with opened(tmp_path) as record:
        record.write_parquet("items/gold.parquet", columns)
        first = (tmp_path / "run" / "items" / "gold.parquet").read_bytes()
        record.write_parquet("items/gold.parquet", columns)
    assert (tmp_path / "run" / "items" / "gold.parquet").read_bytes() == first
    table = pyarrow.parquet.read_table(tmp_path / "run" / "items" / "gold.parquet")
    assert table.to_pydict() == columns


def test_status_holds_no_absolute_path(tmp_path: Path) -> None:
    with opened(tmp_path) as record, pytest.raises(AssertionError):
        record.status("running", last_checkpoint=str(tmp_path))


def test_finished_needs_the_result_too(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.finish(RESULT)
    (tmp_path / "run" / "result.json").unlink()
    assert not is_finished(tmp_path / "run")
