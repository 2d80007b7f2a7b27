"""A sweep that cannot work is refused before its first run: key, value, remedy, exit code 2."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tiebreak.cli import main
from tiebreak.sweep.engines import local as pool

GOOD = "axes: {method: [dpo, kto], seed: [1, 2]}\nfixed: {model: tiny, tracker: none}\n"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    def started(self: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(pool.Worker, "_start", started)
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as code:
        main(["sweep", str(path), *more])
    assert code.value.code == 2
    answer = capsys.readouterr()
    assert answer.out == "" and answer.err.count("\n") == 1, answer
    return answer.err


@pytest.mark.parametrize(
    ("text", "more", "parts"),
    [
        (GOOD.replace("method:", "metod:"), (), ("mine.yaml", "axis 'metod'", "nearest: 'method'")),
        (GOOD.replace("method: [", "method.bta: ["), (), ("method.bta", "beta")),
        (GOOD.replace("[dpo, kto]", "[]"), (), ("axis method", "empty", "give a list")),
        (GOOD.replace("[1, 2]", "[]"), (), ("axis seed", "empty", "give a list")),
        (GOOD.replace("[dpo, kto]", "[dop]"), (), ("dop", "dpo")),
        (GOOD + "settings: {kto: {method.gamma: 1.0}}\n", (), ("mine, method=kto", "gamma")),
        (GOOD + "settings: {simpo: {method.gamma: 1.0}}\n", (), ("settings.simpo", "axes")),
        (GOOD, ("method.gamma=1",), ("gamma",)),
        (GOOD, ("--engine", "slrm"), ("--engine slrm (nearest: 'slurm'); there are local, ray",)),
        (GOOD, ("--engine", "ray", "--launcher", "num_gpu=2"), ("num_gpu", "nearest: 'num_gpus'")),
        (GOOD, ("--engine", "basic"), ("--engine basic is no more; give --engine local",)),
        (GOOD, ("--engine", "joblib"), ("is no more; give --engine local --workers N",)),
        (GOOD, ("--engine", "submitit_local"), ("is no more; give --engine local --workers N",)),
        (GOOD, ("--engine", "submitit_slurm"), ("is no more; give --engine slurm",)),
        (GOOD + "checkpoints: [a/b]\n", (), ("mine.yaml", "'checkpoints'", "zephyr: ORG/NAME")),
        (GOOD + "checkpoints: {z: 1}\n", (), ("mine.yaml", "'checkpoints'", "zephyr: ORG/NAME")),
        (GOOD + "checkpoints: {z: /no/where}\n", (), ("mine, checkpoints.z:", "no such folder")),
        (GOOD + "checkpoints: {z: a/b}\nsearch: {trials: 1}\n", (), ("measured and not tuned",)),
        (GOOD + "checkpoint: {z: a/b}\n", (), ("'checkpoint'", "nearest: 'checkpoints'")),
        (GOOD + "search: {trials: 0}\n", (), ("search.trials=0", "1 or more")),
        (GOOD + "search: {trials: 4, pruner: asa}\n", (), ("search.pruner", "asa", "asha")),
    ],
)
def test_it_is_refused(
    text: str, more: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path, home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    said = refused(text, tmp_path, capsys, *more)
    assert all(part in said for part in parts), said
    assert not (home / "runs").exists()


def test_no_space_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 5_000

    def usage(place: Any) -> type[Usage]:
        return Usage

    monkeypatch.setattr(shutil, "disk_usage", usage)
    said = refused(GOOD, tmp_path, capsys)
    assert "no space left for these 4 runs" in said
    assert "4.88 KiB are free; free some space, or set TIEBREAK_HOME" in said
