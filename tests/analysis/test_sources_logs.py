"""Offline logs: our reader against wandb's own, and logs that are torn, damaged or not ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.conftest import measured
from tests.analysis.record_files import Tracker, closed, fill, mirror
from tests.track.conftest import clean
from tests.track.test_mirror import inspect, opened
from tiebreak.track import wandb_environment
from tiebreak_analysis.records.files import Unreadable
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.records.wandb import THROUGHPUT, OfflineLogs, merged, status_of
from tiebreak_analysis.records.wandb_log import BLOCK, HEADER, pieces, read_history, read_log

WriteRun = Callable[..., str]
__all__ = ["clean"]
pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def sent(runs_dir: Path, write_run: WriteRun) -> Path:
    """The log of one finished run."""
    run_id = write_run()
    fill(runs_dir / run_id)
    mirror(runs_dir / run_id, runs_dir.parent, Tracker())
    closed()
    (log,) = (runs_dir.parent / "wandb").glob("offline-run-*/*.wandb")
    return log


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """`leet inspect` joins the parts of a key with dots; none of ours has one."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        *above, last = key.split(".")
        inside = found
        for part in above:
            inside = inside.setdefault(part, {})
        inside[last] = value
    return found


def test_it_reads_what_wandb_reads(tmp_path: Path) -> None:
    """Long enough to cross blocks, with a record longer than one."""
    with opened(tmp_path) as sending:
        for step in range(1, 60):
            sending.log(step, {f"group/metric_{at}": at / 7 + step for at in range(40)})
        sending.log(60, {"text": "x" * (2 * BLOCK)})
    closed()
    (log,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert log.stat().st_size > 4 * BLOCK
    theirs = [row["item"] for row in inspect(log, "history")]
    ours = list(read_history(log))
    assert len(ours) == 60 and ours == [nested(row) for row in theirs]
    read = read_log(log)
    (run,) = inspect(log, "run")[:1]
    assert read.run_id == run["run_id"] and read.exit_code == 0 and read.began > 1e9
    assert read.config["method"] == {"beta": 0.1} and read.config["run_id"] == run["run_id"]
    assert read.summary["group/metric_3"] == 3 / 7 + 59


def test_a_torn_log_gives_what_is_whole(sent: Path) -> None:
    content = sent.read_bytes()
    every = [piece for _, piece in pieces(content)]
    for end in range(7, len(content), 97):
        whole = [piece for _, piece in pieces(content[:end])]
        assert whole == every[: len(whole)]
    sent.write_bytes(content[: len(content) - 3])
    assert read_log(sent).exit_code is None, "the last record says how it ended"
    runs = load(OfflineLogs(sent.parent.parent))
    assert runs.skipped == ()
    (record,) = runs.records
    assert record.finished, "it had said so before"


def test_one_wrong_bit_is_damage(sent: Path) -> None:
    content = bytearray(sent.read_bytes())
    content[7 + HEADER.size + 3] ^= 1
    sent.write_bytes(content)
    with pytest.raises(Unreadable, match="damaged near byte 7"):
        read_log(sent)
    runs = load(OfflineLogs(sent.parent.parent))
    assert runs.records == ()
    ((path, why),) = runs.skipped
    assert path == sent.parent.parent / sent.stem.removeprefix("run-")
    assert why == f"{sent.parent.name}: the W&B log is damaged near byte 7"


@pytest.mark.parametrize("content", [b"", b"RIFF", b":W&B"])
def test_what_is_no_log(content: bytes) -> None:
    if content == b":W&B":
        assert list(pieces(content)) == []
    else:
        with pytest.raises(Unreadable, match="not a W&B log"):
            list(pieces(content))


def test_a_run_of_another_project_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    for name in (*wandb_environment.FOLDERS, "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # so that it is put back
    folder = tmp_path / "wandb"
    wandb_environment.use_folder(folder)
    with wandb.init(mode="offline", dir=str(tmp_path), project="other", config={"lr": 1}) as run:
        run.log({"loss": 1.0})
    closed()
    runs = load(OfflineLogs(folder))
    ((path, why),) = runs.skipped
    assert path.parent == folder and why == "not a run of tiebreak: no run_id in its config"


def test_a_finished_run_without_its_files_is_named(sent: Path) -> None:
    (run_folder,) = [p for p in (sent.parent / "files").iterdir() if p.name != "media"]
    (measured(run_folder) / "result.json").unlink()
    runs = load(OfflineLogs(sent.parent.parent))
    assert runs.records == ()
    assert runs.skipped == (
        (sent.parent.parent / run_folder.name,
         "W&B does not hold the whole record: result.json is missing"),
    )  # fmt: skip


def test_the_same_log_twice_is_one_run(sent: Path) -> None:
    folder = sent.parent.parent
    before = load(OfflineLogs(folder))
    shutil.copytree(sent.parent, folder / "offline-run-20260101_000000-copy")
    runs = load(OfflineLogs(folder))
    assert runs.records == before.records and runs.skipped == ()
    assert runs.history().equals(before.history()) and runs.items().equals(before.items())


def rows(*steps: int, loss: float) -> Iterator[dict[str, float]]:
    return ({"step": step, "loss": loss, "_step": 0, "seconds": 1.0} for step in steps)


def test_pieces_are_merged_by_our_own_step_and_the_newest_wins() -> None:
    generations = {"step": 3, "generations": {"_type": "html-file", "size": 7}}
    sent = [*rows(1, 2, 3, 4, loss=1.0), *rows(3, 4, 5, loss=2.0), generations]
    assert [(row["step"], row["loss"]) for row in merged(sent)] == [
        (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0),
    ]  # fmt: skip
    behind = [*rows(1, 2, 3, 4, loss=1.0), *rows(2, loss=2.0)]
    assert [row["step"] for row in merged(behind)] == [1, 2], "cut back, as the record is"
    assert merged([*rows(1, loss=1.0)]) == [{"step": 1, "loss": 1.0}]


def test_what_a_run_says_of_itself_counts_before_its_exit_code() -> None:
    assert status_of({"status": "pruned"}, 1) == "pruned"
    assert status_of({"status": "running"}, None) == "running"
    assert status_of({}, 1) == status_of({"status": "running"}, 1) == "failed"
    assert status_of({"status": {}}, 0) == "running"


def test_what_is_no_metric_in_the_history_is_what_the_engine_calls_throughput() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    table = text.split("## In `throughput.jsonl`")[1].split("## In")[0]
    names = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert names == set(THROUGHPUT)
    assert json.dumps(sorted(names))
