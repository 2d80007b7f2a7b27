"""The runs of a sweep when W&B cannot be used, and a run that `wandb agent` started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.track.conftest import KEY
from tests.track.test_mirror import RUN, Tracker, inspect, logs, opened, said, whole_run
from tests.track.wandb_stub import Stub
from tiebreak.track import mirror as mirrors
from tiebreak.track.wandb_environment import Loss, known_loss, shared_by, tell

pytestmark = pytest.mark.usefixtures("clean")
RUNS = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mode of each `wandb.init`."""
    import wandb

    modes: list[str] = []
    init = wandb.init

    def noted(**arguments: Any) -> Any:
        modes.append(arguments["mode"])
        return init(**arguments)

    monkeypatch.setattr(wandb, "init", noted)
    return modes


def sweep(folder: Path, tracker: Tracker | None = None) -> None:
    """Three runs, one after the other, as a sweep's worker does them."""
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    with shared_by(shared):
        for run_id in RUNS:
            whole_run(opened(folder, tracker, run_id))


def kept(folder: Path) -> list[str]:
    offline = [log for log in logs(folder) if log.parent.name.startswith("offline")]
    return [inspect(log, "run")[0]["run_id"] for log in offline]


def test_a_dead_server_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    tried: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(mirrors, "INIT_SECONDS", 2)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    sweep(tmp_path)
    (line,) = said(capfd)
    assert "connection refused" in line
    assert line.endswith("; from here on the runs of this sweep are kept offline, for `wandb sync`")
    assert tried == ["online", "offline", "offline", "offline"]
    assert sorted(kept(tmp_path)) == sorted(RUNS)


def test_a_wrong_key_is_tried_once_per_sweep(
    tmp_path: Path, server: Stub, capfd: pytest.CaptureFixture[str], tried: list[str]
) -> None:
    server.answer = "unauthorised"
    sweep(tmp_path)
    (line,) = said(capfd)
    assert "401" in line and "the runs of this sweep are kept offline" in line and KEY not in line
    assert tried == ["online", "offline", "offline", "offline"]
    server.answer = "well"
    sweep(tmp_path)
    assert said(capfd) == [] and sorted(server.runs) == sorted(RUNS), "the next sweep tries again"


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], tried: list[str]
) -> None:
    (tmp_path / "wandb").write_text("a file")
    sweep(tmp_path)
    (line,) = said(capfd)
    assert line.endswith("File exists: '" + str(tmp_path / "wandb") + "'; from here on the runs of "
                         "this sweep are not mirrored")  # fmt: skip
    assert tried == []


def test_no_key_although_online_was_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, Tracker(mode="online"))
    (line,) = said(capfd)
    assert line.startswith("W&B: no key (set WANDB_API_KEY); from here on the runs of this sweep")


def test_both_losses_are_said_and_the_worse_counts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with shared_by(tmp_path):
        assert known_loss() is None
        for loss in (Loss.OFFLINE, Loss.NOTHING, Loss.NOTHING, Loss.OFFLINE):
            tell("why", loss)
        assert known_loss() is Loss.NOTHING
    assert len(said(capfd)) == 2
    assert known_loss() is None, "a run by itself knows nothing of it"


def test_a_full_disk_for_the_mark_is_no_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with shared_by(tmp_path):
        tmp_path.joinpath("gone").mkdir()
    with shared_by(tmp_path / "gone"):
        tmp_path.joinpath("gone").rmdir()
        tell("why", Loss.NOTHING)
        assert len(said(capfd)) == 1 and known_loss() is None


# wandb leaves the file of its parameters open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_of_wandb_agent(
    tmp_path: Path, server: Stub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text(yaml.safe_dump({"wandb_version": 1, "method": {"value": "dpo"}}))
    agents = {"SWEEP_ID": "sweep1", "RUN_ID": "sweeprun0", "PROJECT": "theirs", "ENTITY": "team",
              "SWEEP_PARAM_PATH": str(parameters)}  # fmt: skip
    for name, value in agents.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    whole_run(opened(tmp_path, Tracker(project="ours")))
    assert said(capfd) == []
    sent = server.runs["sweeprun0"]
    assert (sent["project"], sent["sweep"]) == ("theirs", "sweep1")
    assert sent["displayName"] == f"dpo · align-from-base · world · seed 1 · {RUN}"
    config = {key: one["value"] for key, one in json.loads(sent["config"]).items()}
    assert config["run_id"] == RUN and config["seed"] == 1
    assert (config["method"], config["method.beta"]) == ("dpo", 0.1)
    assert server.summary["gold/reward"] == 0.5
