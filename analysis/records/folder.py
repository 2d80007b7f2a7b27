"""Own records: a folder of `runs/<run id>/`, as docs/records.md describes them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tiebreak.track.record_format import METRICS
from tiebreak_analysis.records.record import Record, Unreadable, content, parse
from tiebreak_analysis.records.source import Row, Skipped, Stamp


@dataclass(frozen=True)
class RunFolder:
    path: Path

    def record(self) -> Record:
        return parse(self.path, self.read)

    def read(self, file: str) -> bytes:
        return (self.path / file).read_bytes()

    def history(self) -> list[Row]:
        return history_rows(content(METRICS, self.read))

    def stamp(self, file: str) -> Stamp | None:
        try:
            found = os.stat(f"{self.path}/{file}")
        except OSError:  # what it is, reading it will say
            return None
        return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Folder:
    """Every folder below `root` is taken for a record. One that is not there holds no runs."""

    root: Path
    cache: Path | None = None

    def entries(self) -> tuple[list[RunFolder], list[Skipped]]:
        if not self.root.is_dir():
            return [], []
        with os.scandir(self.root) as found:
            names = [one.name for one in found if not one.name.startswith(".") and one.is_dir()]
        return [RunFolder(self.root / name) for name in sorted(names)], []


def history_rows(text: bytes) -> list[Row]:
    """The rows of a log of lines; a last line torn by a kill is dropped, as a resumed run does."""
    whole = text[: text.rfind(b"\n") + 1]
    rows: list[Row] = []
    last = 0
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            step = row["step"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{METRICS}:{number} cannot be read: {error}") from None
        if type(step) is not int or step <= last:
            raise Unreadable(f"{METRICS}:{number} is of step {step!r}, after step {last}")
        rows.append(row)
        last = step
    return rows
