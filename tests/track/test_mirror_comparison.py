"""A comparison in W&B: intervals in the summary, a page, and a table with a row per cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.track.test_mirror import Tracker, assert_no_key_below, inspect, logs, said
from tests.track.wandb_stub import Stub
from tiebreak.track.mirror import opened, table

pytestmark = pytest.mark.usefixtures("clean")
NAMES = {"id": "comparison-mine", "name": "mine", "job_type": "comparison",
         "config": {"comparison": "mine"}}  # fmt: skip
SUMMARY = {"status": "comparison", "base/dpo/gold/reward": 0.5, "base/dpo/gold/reward/low": 0.4}
PAGE = "<table><tr><td>0.5 ± 0.1</td></tr></table>"
COLUMNS = ["method", "metric", "mean", "low"]
ROWS = [["dpo", "gold/reward", 0.5, 0.4], [None, "gold/reward", 0.25, None]]


def sent(folder: Path, summary: dict[str, Any] = SUMMARY) -> tuple[str | None, bool]:
    mirror = opened(Tracker(), NAMES, folder)
    mirror.comparison(summary, PAGE, COLUMNS, ROWS)
    return mirror.where, mirror.finish()


def test_offline_it_is_a_log_for_wandb_sync(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where, whole = sent(tmp_path)
    (log,) = logs(tmp_path)
    assert (where, whole, said(capfd)) == (str(log.parent), True, [])
    summary: dict[str, Any] = {}
    for one in inspect(log, "summary"):
        summary |= one["update"]
    assert {name: summary[name] for name in SUMMARY} == SUMMARY
    (page,) = log.parent.glob("files/media/html/*.html")
    assert page.read_text() == PAGE
    (file,) = log.parent.glob("files/media/table/*.json")
    found = json.loads(file.read_text())
    assert (found["columns"], found["data"]) == (COLUMNS, ROWS)


def test_its_columns_have_types() -> None:
    """Numbers can be sorted and plotted there; a column of anything cannot."""
    types = table(COLUMNS, ROWS)._column_types.params["type_map"]
    told = {name: {one.name for one in of.params["allowed_types"]} for name, of in types.items()}
    text, number = {"none", "string"}, {"none", "number"}
    assert told == {"method": text, "metric": text, "mean": number, "low": number}


def test_online_it_has_an_address(
    tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    where, whole = sent(tmp_path)
    assert (whole, said(capfd)) == (True, [])
    assert where is not None and where.endswith("/tiebreak/runs/comparison-mine")
    assert {name: server.summary[name] for name in SUMMARY} == SUMMARY
    (page,) = [text for name, text in server.uploads.items() if name.endswith(".html")]
    assert page.decode() == PAGE
    (found,) = server.artifacts
    assert found["input"]["artifactTypeName"] == "run_table"
    assert_no_key_below(tmp_path)


def test_sent_again_it_keeps_nothing_of_before(tmp_path: Path, server: Stub) -> None:
    sent(tmp_path)
    new = {"status": "comparison", "base/dpo_beta=0.1/gold/reward": 0.7}
    sent(tmp_path, new)
    kept = {name: value for name, value in server.summary.items() if not name.startswith("_")}
    assert {name for name in kept if name not in ("table", "results", "step")} == set(new)


def test_a_server_that_takes_no_table_is_said(
    tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    server.takes_artifacts = False
    _, whole = sent(tmp_path)
    ours = [line for line in said(capfd) if line.startswith("W&B: ")]  # wandb-core says more
    assert not whole and len(ours) == 1


def test_nothing_is_sent_where_nothing_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert sent(tmp_path) == (None, False)
    assert logs(tmp_path) == []
