"""Own records, offline logs and a W&B server give the same tables and page from the same runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.analysis.conftest import evaluate_again
from tests.analysis.record_files import Tracker, closed, fill, mirror, parquet
from tests.track.conftest import KEY, clean, server
from tests.track.wandb_stub import Stub
from tiebreak_analysis.page import table_document
from tiebreak_analysis.page import write as page
from tiebreak_analysis.records import source_from
from tiebreak_analysis.records.runs import Runs, load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv, sidecar
from tiebreak_analysis.tables.text import latex, markdown

WriteRun = Callable[..., str]
__all__ = ["clean", "server"]
FRAMES = ("history", "pairs", "items", "generations")


def written(runs_dir: Path, write_run: WriteRun) -> list[Path]:
    """Two methods, two seeds, one run measured twice; one failed, one stopped, one was killed."""
    ids = [
        write_run("dpo", 1, 0.5, metrics={"gold/reward": 0.5, "kl/reference": 1.0}),
        write_run("dpo", 2, 0.5),
        write_run("ipo", 1, 0.5),
        write_run("kto", 1, status="failed"),
        write_run("kto", 2, status="stopped"),
        write_run("kto", 3, status="running"),
    ]
    for run_id in ids:
        fill(runs_dir / run_id)
    second = evaluate_again(runs_dir / ids[0], "ab12", metrics={"gold/reward": 0.25})
    parquet(second / "items" / "gold.parquet", {"id": ["q"], "reward/after": [0.25]})
    return [runs_dir / run_id for run_id in ids]


def send(folders: list[Path], home: Path, tracker: Tracker) -> None:
    """The second run was killed after step 3 and went on from a checkpoint at step 1."""
    for at, folder in enumerate(folders):
        if at == 1:
            mirror(folder, home, tracker, killed=3)
        killed = 2 if at == len(folders) - 1 else 0
        mirror(folder, home, tracker, first=2 if at == 1 else 1, killed=killed)


def assert_the_same(runs: Runs, own: Runs) -> None:
    assert runs.skipped == ()
    told = [(r.run_id, r.status, r.settings) for r in runs.records]
    assert told == [(r.run_id, r.status, r.settings) for r in own.records]
    for write in (markdown, csv, latex, table_document, sidecar):
        assert write(comparison(runs)) == write(comparison(own))
    for name in FRAMES:
        pd.testing.assert_frame_equal(
            getattr(runs, name)(), getattr(own, name)(), check_exact=True, obj=name
        )
    finished_ids = [r.run_id for r in own.records if r.finished]
    pages = [page("t", one, [comparison(one)], run_ids=finished_ids) for one in (runs, own)]
    assert pages[0] == pages[1]
    assert runs.damaged == {}
    told, expected = ([(r.manifest, r.throughput, r.evaluation, r.evaluators)
                       for r in one.records if r.finished] for one in (runs, own))  # fmt: skip
    assert told == expected and len(told) == 4


def test_offline_logs(runs_dir: Path, write_run: WriteRun, clean: None) -> None:
    folders = written(runs_dir, write_run)
    send(folders, runs_dir.parent, Tracker())
    closed()
    own = load(runs_dir)
    loss = own.history()
    assert len(loss) == 16 and (loss["loss"] > 0).all()
    logs = load(source_from(f"wandb:{runs_dir.parent / 'wandb'}"))
    assert_the_same(logs, own)
    killed = folders[-1].name
    assert list(logs.history([killed])["loss"])[1:] == [-1.0], "what it had sent"


def test_a_server(
    runs_dir: Path, write_run: WriteRun, server: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = written(runs_dir, write_run)
    send(folders, runs_dir.parent, Tracker(mode="online"))
    runs = load(source_from("wandb-api:team/tiebreak"))
    first = list(server.read_back.asked)
    assert first.count("runs") == 1 and first.count("history") == 0
    assert not any("items" in one for one in first), "tables are fetched when they are asked for"
    assert_the_same(runs, load(runs_dir))
    assert capfd.readouterr() == ("", "")
    text = "\n".join(p.read_text("utf-8", "replace") for p in runs_dir.parent.rglob("*.log"))
    assert KEY not in text
    server.answer = "unauthorised"
    (run_id,) = [r.run_id for r in runs.records if r.method == "ipo"]
    assert len(runs.items([run_id])) == 0
    assert "W&B" in runs.damaged[run_id, "items/gold.parquet"]


@pytest.mark.parametrize("at", ["team/other", "team"])
def test_no_such_project(at: str, server: Stub) -> None:
    with pytest.raises(ValueError, match=at):
        load(source_from(f"wandb-api:{at}"))
