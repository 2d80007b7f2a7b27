"""Rows of JSON in a file, each written when it is known: a process that is killed loses the one
that it was about to write and no other."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Journal:
    """rows: those that were there when it was opened, the file being made where it was not.
    Threads may add to it."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        path.touch()
        self.rows = whole_rows(path)
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole < path.stat().st_size:
            os.truncate(path, whole)

    def add(self, *rows: Row) -> None:
        """Write them in one go."""
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        with self._lock, self._path.open("ab") as file:
            file.write(lines.encode())


def whole_rows(path: Path) -> list[Row]:
    """The rows of such a file, which another process may write: a line without its end is none."""
    text = path.read_bytes()
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines() if line]
