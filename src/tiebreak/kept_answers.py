"""Answers by request, in JSONL files to which each is added when it is known: a file of its own for
every process of one build (benchmarks by `harness.model`, answers and log-probs by
`stages.evaluators.answers`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class KeptAnswers:
    """What was answered before, by this process or another, killed or not: it is not asked again.

    folder: of the files; None: in memory alone. part: number of the process that writes. Answers
    are plain JSON, and read back as they were written.
    """

    def __init__(self, folder: Path | None, part: int = 0) -> None:
        self._known: dict[str, Any] = {}
        self._file = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = folder / ("answers.jsonl" if part == 0 else f"answers-{part}.jsonl")
            for file in sorted(folder.glob("answers*.jsonl")):
                self._read(file)

    def _read(self, file: Path) -> None:
        for line in file.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # the end of a write that was cut off
            self._known[row["request"]] = row["answer"]

    def get(self, request: str) -> Any:
        """The answer, None where there is none yet."""
        return self._known.get(request)

    def add(self, answers: Mapping[str, Any]) -> None:
        if self._file is not None and answers:
            rows = ({"request": name, "answer": answer} for name, answer in answers.items())
            with self._file.open("a", encoding="utf-8") as file:
                file.write("\n" + "".join(json.dumps(row) + "\n" for row in rows))
        self._known |= answers
