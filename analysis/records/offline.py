"""W&B's offline logs: the folder `wandb/` of a home, or a copy of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak_analysis.records.mirrored import MirroredRun, gather, status_of
from tiebreak_analysis.records.record import Unreadable
from tiebreak_analysis.records.source import Row, Skipped
from tiebreak_analysis.records.wandb_log import Log, read_history, read_log

PATTERN = "*run-*/run-*.wandb"


@dataclass(frozen=True)
class LogFolder:
    """One `offline-run-*` or `run-*`: the log and, below `files/`, what was saved with it."""

    path: Path
    log: Log

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def config(self) -> Mapping[str, Any]:
        return self.log.config

    @property
    def status(self) -> str:
        return status_of(self.log.summary, self.log.exit_code)

    def read(self, file: str) -> bytes:
        run_id = str(self.log.config["run_id"])
        return (self.path.parent / "files" / run_id / file).read_bytes()

    def rows(self) -> Iterable[Row]:
        return read_history(self.path)


@dataclass(frozen=True)
class OfflineLogs:
    """Every log below `root`. Two folders of one run id are one run that was resumed."""

    root: Path

    @property
    def cache(self) -> None:
        return None

    def entries(self) -> tuple[list[MirroredRun], list[Skipped]]:
        logs: list[LogFolder] = []
        skipped: list[Skipped] = []
        for path in sorted(self.root.glob(PATTERN)):
            try:
                logs.append(LogFolder(path, read_log(path)))
            except Unreadable as reason:
                run_id = path.stem.removeprefix("run-")  # as W&B names it; usually ours
                skipped.append((self.root / run_id, f"{path.parent.name}: {reason}"))
        logs.sort(key=lambda one: (one.log.began, one.name))
        runs, foreign = gather(self.root, logs)
        return runs, skipped + foreign
