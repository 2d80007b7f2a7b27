"""Rows of JSON in a file, each written when it is known: a process that is killed loses the one
that it was about to write and no other."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Journal:
    """rows: those that were there when it was opened. Threads may add to it."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        text = path.read_bytes() if path.is_file() else b""
        whole = text[: text.rfind(b"\n") + 1]  # a line that a kill has torn is not one
        self.rows: list[Row] = [json.loads(line) for line in whole.splitlines() if line]
        if len(whole) < len(text):
            path.write_bytes(whole)

    def add(self, *rows: Row) -> None:
        """Write them in one go."""
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        with self._lock, self._path.open("ab") as file:
            file.write(lines.encode())
