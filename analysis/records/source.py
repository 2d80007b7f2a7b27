"""What a source of runs gives: its runs, each as a handful of named files and its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tiebreak_analysis.records.record import Record, Unreadable

Row = Mapping[str, Any]
Stamp = tuple[int, int]
"""Size in bytes and time of the last change in ns: another stamp, another content."""
Skipped = tuple[Path, str]


class Entry(Protocol):
    """One run, wherever its record lies."""

    @property
    def path(self) -> Path:
        """What it is called where it lies; the last part is the run id, if it has one."""
        ...

    def record(self) -> Record:
        """Unreadable says why it cannot be used."""
        ...

    def read(self, file: str) -> bytes:
        """A file of the record by its name there. OSError; FileNotFoundError: it has none."""
        ...

    def history(self) -> list[Row]:
        """The rows of `metrics.jsonl`, steps ascending. Unreadable: damaged."""
        ...

    def stamp(self, file: str) -> Stamp | None:
        """None: the file is not there."""
        ...


class Source(Protocol):
    """Where runs are read from."""

    @property
    def root(self) -> Path | str:
        """What messages call it."""
        ...

    @property
    def cache(self) -> Path | None:
        """A folder for what was read before, or None: then every file is read every time."""
        ...

    def entries(self) -> tuple[Sequence[Entry], Sequence[Skipped]]:
        """The runs, one entry per run id, by path; and what lies there and is none, with why.

        UserError: there is nothing to read, or no way to.
        """
        ...


def read_records(entries: Iterable[Entry]) -> tuple[list[Record], list[Skipped]]:
    """Every record that can be used; the others by name, with the reason."""
    records, skipped = [], []
    for entry in entries:
        try:
            records.append(entry.record())
        except Unreadable as reason:
            skipped.append((entry.path, str(reason)))
    return records, skipped
