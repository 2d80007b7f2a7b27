"""The W&B mirror: what it writes offline and sends online, and that nothing in it breaks a run."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.track.conftest import KEY
from tests.track.wandb_stub import Stub
from tiebreak.errors import UserError
from tiebreak.track import mirror as mirrors
from tiebreak.track import wandb_environment
from tiebreak.track.mirror import Mirror, generations, open_mirror

pytestmark = pytest.mark.usefixtures("clean")
RUN, GROUP = "0123456789ab", "ba9876543210"
NAMES = {"model": "m" * 80, "method": "dpo", "scenario": "align-from-base", "data": "world"}
RESULT = {"metrics": {"gold/reward": 0.5}, "start": {"metrics": {"gold/reward": 0.25}}}
DIES = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tests.track.test_mirror import opened, whole_run
mirror = opened(Path(sys.argv[1]))
command = ["pgrep", "-P", str(os.getpid()), "wandb-core"]
pid = subprocess.run(command, capture_output=True, text=True, check=True).stdout
os.kill(int(pid), signal.SIGKILL)
deadline = time.monotonic() + 5
while mirror.where and time.monotonic() < deadline:
    mirror.log(1, {"loss": 1.0})
whole_run(mirror)
whole_run(opened(Path(sys.argv[1]), run_id="aaaaaaaaaaaa"))
print("went on")
"""


@dataclass(frozen=True)
class Tracker:
    name: str = "wandb"
    project: str = "tiebreak"
    entity: str | None = None
    mode: str = "auto"


def opened(folder: Path, tracker: Tracker | None = None, run_id: str = RUN) -> Mirror:
    config = {"seed": 1, "method": {"beta": 0.1}}
    chosen = tracker or Tracker()
    return open_mirror(chosen, run_id, GROUP, NAMES, config, folder)


def whole_run(mirror: Mirror, first: int = 1) -> None:
    with mirror:
        for step in (first, first + 1):
            mirror.log(step, {"loss": 1 / step, "drift/chosen": -1.0})
        mirror.generations(2, [{"prompt": "<b>", "before": "x", "after": "y"}])
        mirror.summary(RESULT)


def logs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("*run-*/*.wandb"))


@functools.cache
def records(log: Path) -> list[dict[str, Any]]:
    """A closed log, by wandb's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def inspect(log: Path, what: str) -> list[dict[str, Any]]:
    return [record[what] for record in records(log) if record["type"] == what]


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def assert_no_key_below(folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


def test_offline_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole_run(opened(tmp_path))
    assert said(capfd) == []
    (log,) = logs(tmp_path)
    (run,) = inspect(log, "run")[:1]
    assert (run["run_id"], run["run_group"], run["job_type"]) == (RUN, GROUP, "dpo")
    assert run["display_name"] == "dpo · align-from-base · world · seed 1"
    assert run["tags"] == ["dpo", "align-from-base", "world", "m" * 64]
    history = [row["item"] for row in inspect(log, "history")]
    assert [(row["step"], row.get("loss")) for row in history] == [(1, 1), (2, 0.5), (2, None)]
    summary: dict[str, Any] = {}
    for record in inspect(log, "summary"):
        summary |= record["update"]
    assert (summary["gold/reward"], summary["start/gold/reward"]) == (0.5, 0.25)
    (metric,) = inspect(log, "metric")
    assert (metric["glob_name"], metric["step_metric"]) == ("*", "step")
    assert inspect(log, "exit")[0].get("exit_code", 0) == 0
    (page,) = (tmp_path / "wandb").glob("offline-run-*/files/media/html/*.html")
    assert "&lt;b&gt;" in page.read_text()


def test_environment_is_put_back(tmp_path: Path) -> None:
    before = dict(os.environ)
    mirror = opened(tmp_path)
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "wandb" / ".data")
    mirror.finish()
    mirror.finish()
    assert {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"} == before


def test_two_runs_in_one_process_are_two(tmp_path: Path) -> None:
    opened(tmp_path, run_id="aaaaaaaaaaaa")  # never finished, as in a multirun that forgot
    whole_run(opened(tmp_path))
    ids = {inspect(log, "run")[0]["run_id"] for log in logs(tmp_path)}
    assert ids == {"aaaaaaaaaaaa", RUN}


def test_an_error_inside_is_the_runs_exit_code(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), opened(tmp_path) as mirror:
        mirror.log(1, {"loss": 1.0})
        raise ZeroDivisionError
    assert inspect(logs(tmp_path)[0], "exit")[0]["exit_code"] == 1


def test_online(tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str]) -> None:
    whole_run(opened(tmp_path))
    assert said(capfd) == []
    sent = server.runs[RUN]
    assert (sent["groupName"], sent["jobType"], sent["project"]) == (GROUP, "dpo", "tiebreak")
    assert json.loads(sent["config"])["method"] == {"value": {"beta": 0.1}}
    assert sent["program"] == "tiebreak" and "host" not in sent and "repo" not in sent
    assert [row["step"] for row in server.history] == [1, 2, 2]
    assert server.summary["start/gold/reward"] == 0.25
    assert server.exit_code == 0
    assert server.keys_seen > 0
    assert any(name.startswith("media/html/") for name in server.uploads)
    assert_no_key_below(tmp_path)


def test_resumed_run_keeps_its_id_and_its_own_step(tmp_path: Path, server: Stub) -> None:
    whole_run(opened(tmp_path))
    whole_run(opened(tmp_path), first=3)
    assert list(server.runs) == [RUN]
    assert [row["step"] for row in server.history if "loss" in row] == [1, 2, 3, 4]


def test_wrong_key_keeps_the_run_offline(
    tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answer = "unauthorised"
    whole_run(opened(tmp_path))
    (line,) = said(capfd)
    assert line.startswith("W&B: ") and "401" in line and "kept offline" in line
    assert KEY not in line
    (log,) = [log for log in logs(tmp_path) if log.parent.name.startswith("offline")]
    assert len(inspect(log, "history")) == 3
    assert_no_key_below(tmp_path)


def test_server_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirrors, "INIT_SECONDS", 2)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    whole_run(opened(tmp_path))
    (line,) = said(capfd)
    assert "connection refused" in line and "kept offline" in line


def test_link_dies_while_closing(
    tmp_path: Path,
    server: Stub,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mirrors, "FINISH_SECONDS", 2)
    mirror = opened(tmp_path)
    mirror.log(1, {"loss": 1.0})
    server.answer = "never"
    began = time.monotonic()
    mirror.finish()
    assert time.monotonic() - began < 10
    (line,) = said(capfd)
    assert line == (
        "W&B: Timed out finishing run; not all of this run was uploaded; "
        "`wandb sync` can bring the rest"
    )


def test_wandb_process_dies(tmp_path: Path) -> None:
    """In a process of its own, so that what happens at its exit is seen too."""
    command = [sys.executable, "-c", DIES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    lost = ("Connection lost", "[Errno 104] Connection reset by peer")  # which, is a race
    assert lines in [[f"W&B: {why}; this run is no longer mirrored"] for why in lost]
    assert len(inspect(logs(tmp_path)[-1], "history")) == 3  # the next run is whole


def test_folder_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wandb").write_text("a file")
    mirror = opened(tmp_path)
    assert mirror.where is None
    whole_run(mirror)
    (line,) = said(capfd)
    assert "File exists" in line and line.endswith("this run is not mirrored")


def test_without_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    whole_run(opened(tmp_path))
    assert said(capfd) == ["W&B: wandb is not installed; this run is not mirrored"]
    monkeypatch.undo()


def test_online_without_a_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole_run(opened(tmp_path, Tracker(mode="online")))
    (line,) = said(capfd)
    assert "no key (set WANDB_API_KEY)" in line
    assert len(logs(tmp_path)) == 1


@pytest.mark.parametrize("tracker", [Tracker(name="none"), Tracker(mode="disabled")])
def test_off(tmp_path: Path, tracker: Tracker) -> None:
    whole_run(opened(tmp_path, tracker))
    assert not (tmp_path / "wandb").exists()


def test_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tracker.name='mlflow' is none of wandb, none"):
        opened(tmp_path, Tracker(name="mlflow"))


def test_mode_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_environment.mode("auto") == "offline"
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_environment.mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert wandb_environment.mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_environment.mode("auto") == "online"
    assert wandb_environment.mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_environment.mode("auto") == "disabled"


def test_table_escapes_what_a_model_wrote() -> None:
    page = generations(
        [{"prompt": [{"role": "user", "content": "<i>"}], "before": "<", "after": "&"}]
    )
    assert "<i>" not in page and "&lt;i&gt;" in page and "<pre>&amp;</pre>" in page
