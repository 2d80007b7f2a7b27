"""A real file system that is full: what is said, what stays, and that the same command goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.commands import (
    BASE,
    Answer,
    Command,
    differing,
    only_run,
    read_json,
    result_of,
)

SETTINGS = [*BASE, "train.epochs=3"]  # 18 steps, checkpoints at 2, 4, ...
Mount = Callable[[Path, int], None]


@pytest.fixture
def small_disk() -> Iterator[Mount]:
    """small_disk(folder, KiB) mounts a file system there; called again it changes the size."""
    mounted: list[Path] = []

    def mount(folder: Path, size: int) -> None:
        how = f"remount,size={size}k" if folder in mounted else f"size={size}k"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)]
        if shutil.which("mount") is None or os.geteuid() != 0:
            pytest.skip("mounting a small file system needs root")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting a small file system is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def undisturbed(home: Path, tiebreak: Command) -> Path:
    """The record of the same run on a disk with room; its artefacts but align's are ready."""
    answer = tiebreak("run", *SETTINGS)
    assert answer.code == 0, answer.err
    return answer.record


@pytest.fixture
def fresh(undisturbed: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home where training is what is left to do."""
    folder = tmp_path / "fresh"
    for stage in ("pretrain", "tokens", "reference"):
        shutil.copytree(home / "artefacts" / stage, folder / "artefacts" / stage)
    monkeypatch.setenv("TIEBREAK_HOME", str(folder))
    return folder


def refusal(answer: Answer) -> str:
    assert answer.code == 2 and "Traceback" not in answer.err, answer.err
    return answer.err


def used(folder: Path) -> int:
    """KiB in whole pages."""
    return sum(-(-p.stat().st_size // 4096) * 4 for p in folder.rglob("*") if p.is_file())


def test_full_while_a_checkpoint_is_written(
    undisturbed: Path, fresh: Path, small_disk: Mount, tiebreak: Command, tmp_path: Path
) -> None:
    (model,) = fresh.glob("artefacts/pretrain/*/model.safetensors")
    one = 3 * model.stat().st_size // 1024 + 80  # weights and the optimiser's two copies
    small_disk(fresh / "artefacts" / "align", one * 3 // 2)
    said = refusal(tiebreak("run", *SETTINGS))
    assert "checkpoint-4 could not be written (No space left on device" in said
    assert "the last good checkpoint is checkpoint-2" in said
    assert "Free space, then give the same command again: it goes on from there" in said
    status = read_json(only_run(fresh) / "status.json")
    assert status["status"] == "failed" and "checkpoint-4" in status["error"]
    kept = fresh / "artefacts" / status["last_checkpoint"]
    assert kept.name == "checkpoint-2" and (kept / "complete.json").is_file()
    assert [p.name for p in kept.parent.glob("checkpoint-*")] == ["checkpoint-2"]

    small_disk(fresh / "artefacts" / "align", one * 10)
    again = tiebreak("run", *SETTINGS)
    assert again.code == 0, again.err
    assert "resumed from the checkpoint at step 2 of 18" in again.out
    assert differing(undisturbed, again.record) == []


def test_full_while_the_model_is_written(
    undisturbed: Path, fresh: Path, small_disk: Mount, tiebreak: Command
) -> None:
    """The last checkpoint fits, the result beside it does not."""
    (model,) = fresh.glob("artefacts/pretrain/*/model.safetensors")
    one = 3 * model.stat().st_size // 1024 + 80
    folder = fresh / "artefacts" / "align"
    small_disk(folder, one + 20)
    seldom = [*SETTINGS, "train.execution.checkpoint_every=100"]
    said = refusal(tiebreak("run", *seldom))
    assert f"cannot write below {fresh / 'artefacts'}: No space left on device; free some" in said
    assert f"unfinished work is kept in {folder}/." in said

    small_disk(folder, one * 10)
    again = tiebreak("run", *seldom)
    assert again.code == 0, again.err
    assert "resumed from the checkpoint at step 18 of 18" in again.out
    weights = (p.read_bytes() for h in (fresh, fresh.parent / "home")
               for p in h.glob("artefacts/align/[0-9a-f]*/model.safetensors"))  # fmt: skip
    assert next(weights) in list(weights)
    assert result_of(undisturbed) == result_of(again.record)


@pytest.mark.parametrize("pages", [5, 7])
def test_full_while_the_record_is_written(
    pages: int, undisturbed: Path, fresh: Path, small_disk: Mount, tiebreak: Command
) -> None:
    runs = fresh / "runs"
    small_disk(runs, 4 * pages)
    said = refusal(tiebreak("run", *SETTINGS))
    assert f"cannot write below {runs / undisturbed.name}: No space left on device" in said
    assert "free some space and run again, or set TIEBREAK_HOME" in said
    assert not list((runs / undisturbed.name).glob("evaluations/*/result.json"))

    small_disk(runs, 4096)
    again = tiebreak("run", *SETTINGS)
    assert again.code == 0, again.err
    assert differing(undisturbed, again.record) == []
