"""What the mirror sends of a finished record, and what it says of one that is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.track.test_mirror import RUN, Tracker, inspect, logs, opened, said, whole_run
from tests.track.wandb_stub import Stub
from tiebreak.track.mirror import MEASURED, SENT, Mirror
from tiebreak.track.record_format import FORMAT

pytestmark = pytest.mark.usefixtures("clean")
HASHES = {"data": "d" * 16}
EVALUATIONS = ["e" * 12, "f" * 12]
FILES = {*SENT, *(f"evaluations/{one}/{name.replace('*', 'gold')}"
                  for one in EVALUATIONS for name in MEASURED)}  # fmt: skip


def record(home: Path, status: str = "finished") -> Path:
    """A folder with the files that the mirror looks for; their content is not looked at."""
    folder = home / "runs" / RUN
    without_result = f"evaluations/{'a' * 12}/pairs.parquet"
    for name in (*FILES, without_result, "metrics.jsonl", "error.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    manifest = {"format": FORMAT, "run_id": RUN, "hashes": HASHES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    told = {"format": FORMAT, "status": status, "error": "/home/me/x"}
    (folder / "status.json").write_text(json.dumps(told))
    return folder


def mirrored(mirror: Mirror, folder: Path) -> None:
    with mirror:
        mirror.log(1, {"loss": 1.0})
        mirror.record(folder)


def summary(log: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for one in inspect(log, "summary"):
        found |= one["update"]
    return found


def test_offline_the_files_lie_beside_the_log(tmp_path: Path) -> None:
    folder = record(tmp_path)
    mirrored(opened(tmp_path), folder)
    shutil.rmtree(folder)  # they are files of their own, not links to the record
    (log,) = logs(tmp_path)
    kept = log.parent / "files" / RUN
    found = {p.relative_to(kept).as_posix() for p in kept.rglob("*") if p.is_file()}
    assert found == FILES
    items = f"evaluations/{EVALUATIONS[0]}/items/gold.parquet"
    assert (kept / items).read_text() == items
    assert summary(log)["status"] == "finished"
    assert b"/home/me" not in log.read_bytes()


def test_online_they_are_files_of_the_run(
    tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = record(tmp_path)
    mirrored(opened(tmp_path), folder)
    assert said(capfd) == []
    sent = {name: text for (run, name), text in server.read_back.files.items() if run == RUN}
    for name in FILES:
        assert sent[f"{RUN}/{name}"] == (folder / name).read_bytes()
    assert not any(name.endswith(("status.json", "metrics.jsonl", "error.txt")) for name in sent)
    config = json.loads(server.runs[RUN]["config"])
    assert config["hashes"]["value"] == HASHES
    assert config["evaluations"]["value"] == EVALUATIONS
    assert server.summary["status"] == "finished"


def test_a_run_that_is_not_over_says_running_until_it_ends(tmp_path: Path, server: Stub) -> None:
    mirrored(opened(tmp_path), record(tmp_path, "stopped"))
    assert server.summary["status"] == "stopped"
    whole_run(opened(tmp_path))  # a second attempt, killed before its end
    assert server.summary["status"] == "running"


@pytest.mark.parametrize("how", ["torn", "missing", "full"])
def test_a_record_that_cannot_be_sent_does_not_break_the_run(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = record(tmp_path)
    if how == "torn":
        (folder / "manifest.json").write_text("{")
    elif how == "missing":
        shutil.rmtree(folder)
    mirror = opened(tmp_path, Tracker(mode="offline"))
    if how == "full":

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "link", full)
        monkeypatch.setattr(shutil, "copy2", full)
    mirrored(mirror, folder)
    (line,) = said(capfd)
    assert line.startswith("W&B: ") and line.endswith("this run is no longer mirrored")
