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
    is_done,
    is_live,
    read_jsonl,
    read_manifest,
    read_result,
    read_status,
    write_json,
)
from tiebreak.track.record_format import path_in_record

MANIFEST = {
    "run_id": "0123456789ab",
    "group_id": "ba9876543210",
    "seed": 1,
    "names": {"model": "tiny", "method": "dpo", "scenario": "align-from-base", "data": "world"},
    "versions": {"torch": "1"},
    "git": {"commit": "c", "dirty": False},
    "host": {"cpus": 2},
}
EVALUATION, EVALUATORS = "e0e0e0e0", {"gold": "d1", "pairs": "d2"}
RESULT = {
    "evaluators": EVALUATORS,
    "metrics": {"gold/reward": 0.1},
    "start": {"model": "h", "metrics": {"gold/reward": 0.0}},
}
WRITER = f"""
import sys, time
from pathlib import Path
from tiebreak.track.record import Record
record = Record.open(Path(sys.argv[1]), "seed: 1\\n", {MANIFEST!r})
record.status("running", stage="align", step=2, steps=9, last_checkpoint="checkpoint-1")
record.copy_log(Path(sys.argv[2]))
record.throughput(1, {{"seconds": 2.5}})
record.throughput(2, {{"seconds": 1.5}})
print("written", flush=True)
time.sleep(60)
"""


def opened(folder: Path, **changes: object) -> Record:
    return Record.open(folder / "run", "seed: 1\n", {**MANIFEST, **changes})


def log_of(folder: Path, *losses: float, torn: str = "") -> Path:
    """A training log as align keeps it."""
    path = folder / "log.jsonl"
    lines = [f'{{"loss": {loss}, "step": {step}}}\n' for step, loss in enumerate(losses, 1)]
    path.write_text("".join(lines) + torn)
    return path


def done(folder: Path, evaluation: str = EVALUATION, **evaluators: str) -> bool:
    return is_done(folder / "run", evaluation, evaluators or EVALUATORS)


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / name).read_text().splitlines()]


def test_a_whole_run(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log.jsonl"
    log.write_text('{"drift/chosen": -1e-09, "loss": 0.1, "step": 1}\n')
    with opened(tmp_path) as record:
        assert read_status(run) is None and not done(tmp_path)
        record.status("running", stage="align", step=0, steps=1)
        assert record.copy_log(log) == [{"step": 1, "loss": 0.1, "drift/chosen": -1e-09}]
        record.throughput(1, {"seconds": 2.0})
        record.update_manifest(hashes={"data": "d"})
        answers = path_in_record("generations.jsonl", EVALUATION)
        record.write_jsonl(answers, [{"id": "é", "before": "a\u2028b", "after": "c"}])
        assert not done(tmp_path)
        record.finish(EVALUATION, RESULT)
    assert done(tmp_path)
    assert (run / "config.yaml").read_text() == "seed: 1\n"
    assert (run / "metrics.jsonl").read_bytes() == log.read_bytes()
    assert rows(tmp_path, "throughput.jsonl") == [{"step": 1, "seconds": 2.0}]
    (answer,) = read_jsonl(run / answers)
    assert answer == {"id": "é", "before": "a\u2028b", "after": "c"}
    of_run = {"run_id": "0123456789ab", "group_id": "ba9876543210", "seed": 1}
    assert read_result(run, EVALUATION) == {
        "format": 2, "evaluation": EVALUATION, **of_run, **RESULT,
    }  # fmt: skip
    manifest = read_manifest(run)
    assert manifest["hashes"] == {"data": "d"} and manifest["names"] == MANIFEST["names"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["times"]["finished"])
    status = read_status(run)
    assert status is not None and status["status"] == "finished" and status["step"] is None
    assert [p.name for p in run.rglob("*.tmp")] == []


def test_killed_run_is_reopened_and_cut_back(tmp_path: Path) -> None:
    run, log = tmp_path / "run", log_of(tmp_path, 0.5, 0.25)
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(run), str(log)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "written\n"
    assert is_live(run)
    with pytest.raises(UserError, match="another process is running"):
        opened(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not is_live(run)
    for name in ("metrics.jsonl", "throughput.jsonl"):
        assert [row["step"] for row in rows(tmp_path, name)] == [1, 2]  # flushed
    status = read_status(run)
    assert status is not None and status["last_checkpoint"] == "checkpoint-1"
    with opened(tmp_path) as record:
        record.resume(1)
        assert rows(tmp_path, "throughput.jsonl") == [{"step": 1, "seconds": 2.5}]
        record.copy_log(log_of(tmp_path, 0.5))
        assert rows(tmp_path) == [{"step": 1, "loss": 0.5}]
        record.throughput(2, {"seconds": 1.5})
        assert record.copy_log(log_of(tmp_path, 0.5, 0.125)) == [{"step": 2, "loss": 0.125}]
    assert [row["loss"] for row in rows(tmp_path)] == [0.5, 0.125]


TORN = pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step": 3}', '{"step": 3, "x": "\xe9'])


@TORN
def test_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    with opened(tmp_path) as record:
        record.throughput(1, {"seconds": 1.0})
    with open(tmp_path / "run" / "throughput.jsonl", "ab") as stream:
        stream.write(torn.encode()[:-1])
    with opened(tmp_path) as record:
        assert [row["step"] for row in rows(tmp_path, "throughput.jsonl")] == [1]
        record.throughput(2, {"seconds": 0.5})
    assert [row["step"] for row in rows(tmp_path, "throughput.jsonl")] == [1, 2]


@TORN
def test_a_training_log_torn_here_or_there_is_whole_in_the_end(tmp_path: Path, torn: str) -> None:
    with opened(tmp_path) as record:
        assert len(record.copy_log(log_of(tmp_path, 1.0, torn=torn))) == 1
        assert rows(tmp_path) == [{"step": 1, "loss": 1.0}], "only whole lines are copied"
    with open(tmp_path / "run" / "metrics.jsonl", "ab") as stream:
        stream.write(torn.encode()[:-1])
    with opened(tmp_path) as record:
        record.copy_log(log_of(tmp_path, 1.0, 0.5))
    assert rows(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def test_a_log_that_another_attempt_left_is_written_anew(tmp_path: Path) -> None:
    """That attempt came further than the checkpoint, or its numbers are damaged."""
    for left in ('{"loss": 9.0, "step": 1}\n' * 3, '{"step": 1}\nnoise\n{"step": 2}\n'):
        opened(tmp_path).close()
        (tmp_path / "run" / "metrics.jsonl").write_text(left)
        with opened(tmp_path) as record:
            assert [row["loss"] for row in record.copy_log(log_of(tmp_path, 1.0))] == [1.0]
        assert rows(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_damage_inside_a_log_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "run" / "throughput.jsonl").write_text('{"step": 1}\nnoise\n{"step": 2}\n')
    with pytest.raises(UserError, match="throughput.jsonl is damaged"):
        opened(tmp_path)
    assert not is_live(tmp_path / "run")  # the refused opening let go


def test_cut_back_to_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.resume(0)
        record.throughput(1, {})
        record.copy_log(log_of(tmp_path, 1.0))
        record.resume(0)
        record.copy_log(log_of(tmp_path))
        assert rows(tmp_path) == rows(tmp_path, "throughput.jsonl") == []
        record.throughput(1, {})


def test_steps_go_forward(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.throughput(2, {"seconds": 0.0})
        with pytest.raises(AssertionError, match="step 2 after step 2"):
            record.throughput(2, {"seconds": 0.0})


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
    with pytest.raises(
        UserError, match="run is a record of format 1, which .*; move it away or set"
    ):
        opened(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="manifest.json is not JSON"):
        opened(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_not_a_number_is_refused_and_nothing_written(tmp_path: Path, number: float) -> None:
    with opened(tmp_path) as record:
        with pytest.raises(UserError, match=f"step 1: seconds is {number}; nothing was written"):
            record.throughput(1, {"seconds": number})
        with pytest.raises(UserError, match=f"result.json: metrics.a/b is {number}"):
            record.finish(EVALUATION, {**RESULT, "metrics": {"a/b": number}})
    assert not (tmp_path / "run" / "throughput.jsonl").exists()
    assert not done(tmp_path)


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as record:
        path = record.folder / "a.json"
        write_json(path, {"x": 1})

        def full(source: Path, target: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(records.os, "replace", full)
        with pytest.raises(UserError, match="No space left"):
            write_json(path, {"x": 2})
    assert json.loads(path.read_text()) == {"x": 1}


def test_parquet_is_deterministic_and_keeps_missing_values(tmp_path: Path) -> None:
    import pyarrow.parquet

    columns = {"id": ["a", "b"], "logp/chosen/before": [-1.5, None], "correct": [True, False]}
    name = path_in_record("items/gold.parquet", EVALUATION)
    path = tmp_path / "run" / "evaluations" / EVALUATION / "items" / "gold.parquet"
    with opened(tmp_path) as record:
        record.write_parquet(name, columns)
        first = path.read_bytes()
        record.write_parquet(name, columns)
    assert path.read_bytes() == first
    table = pyarrow.parquet.read_table(path)
    assert table.to_pydict() == columns


def test_status_holds_no_absolute_path(tmp_path: Path) -> None:
    with opened(tmp_path) as record, pytest.raises(AssertionError):
        record.status("running", last_checkpoint=str(tmp_path))


def test_finished_needs_the_result_too(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.finish(EVALUATION, RESULT)
    (tmp_path / "run" / "evaluations" / EVALUATION / "result.json").unlink()
    assert not done(tmp_path)


def test_done_is_what_was_measured_in_the_way_that_is_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        record.finish(EVALUATION, RESULT)
    assert done(tmp_path) and done(tmp_path, gold="d1")
    assert not done(tmp_path, gold="d1", generations="d3"), "an evaluator more"
    assert not done(tmp_path, gold="d9"), "the same name, measured in another way"
    assert not done(tmp_path, "f1f1f1f1")


def test_another_evaluation_leaves_the_first_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as record:
        assert read_result(record.folder, EVALUATION) == {}
        record.finish(EVALUATION, RESULT)
        times = {**record.manifest["times"], "finished": "2001-01-01T00:00:00Z"}
        record.update_manifest(times=times)
    before = (tmp_path / "run" / "evaluations" / EVALUATION / "result.json").read_bytes()
    with opened(tmp_path) as record:
        assert read_result(record.folder, EVALUATION)["metrics"] == RESULT["metrics"]
        record.status("running", stage="gold")
        record.finish("f1f1f1f1", {**RESULT, "metrics": {"gold/reward": 0.9}})
    assert done(tmp_path) and done(tmp_path, "f1f1f1f1")
    assert (tmp_path / "run" / "evaluations" / EVALUATION / "result.json").read_bytes() == before
    finished = read_manifest(tmp_path / "run")["times"]["finished"]
    assert finished == "2001-01-01T00:00:00Z", "when it was trained and first measured"
