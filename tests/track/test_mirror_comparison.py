"""A comparison in W&B: intervals in the summary, a page, and a table with a row per cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.track.test_mirror import Tracker, assert_no_key_below, inspect, logs, said
from tests.track.wandb_stub import Stub
from tiebreak.track.mirror import Mirror, opened
from tiebreak.track.shown import Comparison

pytestmark = pytest.mark.usefixtures("clean")
NAMES = {"id": "comparison-mine", "name": "mine", "job_type": "comparison",
         "config": {"comparison": "mine"}}  # fmt: skip
TOLD = Comparison(
    summary={"status": "comparison", "base/dpo/gold/reward": 0.5, "base/dpo/gold/reward/low": 0.4},
    page="<table><tr><td>0.5 ± 0.1</td></tr></table>",
    columns=["method", "metric", "mean", "low"],
    rows=[["dpo", "gold/reward", 0.5, 0.4], [None, "gold/reward", 0.25, None]],
)


def sent(folder: Path, mode: str = "auto") -> str | None:
    mirror: Mirror = opened(Tracker(mode=mode), NAMES, folder)
    with mirror:
        mirror.comparison(TOLD)
        return mirror.where


def test_offline_it_is_a_log_for_wandb_sync(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = sent(tmp_path)
    (log,) = logs(tmp_path)
    assert where == str(log.parent)
    assert said(capfd) == []
    summary: dict[str, Any] = {}
    for one in inspect(log, "summary"):
        summary |= one["update"]
    assert {name: summary[name] for name in TOLD.summary} == TOLD.summary
    (page,) = log.parent.glob("files/media/html/*.html")
    assert page.read_text() == TOLD.page
    (table,) = log.parent.glob("files/media/table/*.json")
    found = json.loads(table.read_text())
    assert (found["columns"], found["data"]) == (TOLD.columns, TOLD.rows)


def test_online_it_has_an_address(
    tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    where = sent(tmp_path)
    assert said(capfd) == []
    assert where is not None and where.endswith("/tiebreak/runs/comparison-mine")
    assert {name: server.summary[name] for name in TOLD.summary} == TOLD.summary
    (page,) = [text for name, text in server.uploads.items() if name.endswith(".html")]
    assert page.decode() == TOLD.page
    (table,) = server.artifacts
    assert table["input"]["artifactTypeName"] == "run_table"
    assert_no_key_below(tmp_path)


def test_nothing_is_sent_where_nothing_may_be(tmp_path: Path) -> None:
    assert sent(tmp_path, mode="disabled") is None
    assert logs(tmp_path) == []
