"""A run as W&B holds it: one or several pieces, for a run that was resumed leaves more than one.

The mirror puts the files of the record beside the history (docs/wandb.md), so the record is read
from the same files as one of our own; W&B adds how far the run is, and its history.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tiebreak.track.record_format import FORMAT, MANIFEST, STATUS, STATUSES
from tiebreak_analysis.records.record import (
    Missing,
    Record,
    Settings,
    Unreadable,
    parse,
    settings,
)
from tiebreak_analysis.records.source import Row, Skipped, Stamp

THROUGHPUT = ("seconds", "pairs/s", "response_tokens/s", "memory/peak")
"""In W&B's history beside the metrics; in the record they are a file of their own."""
COMPARISON = "comparison"
"""In W&B's config as `tiebreak`: what `tiebreak table --wandb` sent, which is no run."""
OURS = ("run_id", "group_id", "hashes")  # in W&B's config, and no settings


class Piece(Protocol):
    """One W&B run or one log of it."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def status(self) -> str: ...
    def read(self, file: str) -> bytes:
        """A file of the record. OSError; FileNotFoundError: W&B has no such file of this run."""
        ...

    def rows(self) -> Iterable[Row]: ...


@dataclass(frozen=True)
class MirroredRun:
    """The pieces of one run id, oldest first. Where two tell the same, the newer is believed."""

    path: Path
    pieces: tuple[Piece, ...]

    @property
    def status(self) -> str:
        """That of the newest piece; but what was finished stays finished when it is shown again."""
        told = [piece.status for piece in self.pieces]
        return "finished" if "finished" in told else told[-1]

    def record(self) -> Record:
        try:
            return parse(self.path, self.read)
        except Missing as reason:
            if self.status == "finished":
                raise Unreadable(f"W&B does not hold the whole record: {reason}") from None
            return self._unfinished()

    def _unfinished(self) -> Record:
        """Killed or still running: the files of the record are sent at the end."""
        config = settings({k: v for k, v in self.pieces[-1].config.items() if k not in OURS})
        told = self.pieces[-1].config
        return Record(
            path=self.path,
            run_id=self.path.name,
            group_id=_text(told, "group_id"),
            status=self.status,
            stage=None,
            step=None,
            steps=None,
            error=None,
            model=_text(config, "model.name"),
            method=_text(config, "method.name"),
            scenario=_text(config, "scenario.name"),
            data=_text(config, "data.name"),
            seed=_whole(told, "seed"),
            data_hash=None,
            evaluator=None,
            start_model=None,
            metrics={},
            start={},
            settings=config,
        )

    def read(self, file: str) -> bytes:
        if file == STATUS:
            return json.dumps({"format": FORMAT, "status": self.status}).encode()
        for piece in reversed(self.pieces):
            try:
                return piece.read(file)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(file)

    def history(self) -> list[Row]:
        return merged(row for piece in self.pieces for row in piece.rows())

    def stamp(self, file: str) -> Stamp | None:
        """Nothing of W&B is cached."""
        return None


def merged(rows: Iterable[Row]) -> list[Row]:
    """The rows of `metrics.jsonl` from all that was ever sent, over our own step.

    A resumed run sends the steps after its checkpoint again: as the record does, what came
    before is cut back to that step, so each step is there once, as it was sent last.
    """
    kept: list[dict[str, Any]] = []
    for row in rows:
        step, metrics = row.get("step"), _metrics(row)
        if not metrics or not isinstance(step, int | float):
            continue  # generations, or something that was not sent by us
        while kept and kept[-1]["step"] >= step:
            kept.pop()
        kept.append({"step": int(step), **metrics})
    return list(kept)


def _metrics(row: Row) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if type(value) in (int, float)
        and name != "step"
        and name not in THROUGHPUT
        and not name.startswith("_")
    }


def gather(root: Path, pieces: Sequence[Piece]) -> tuple[list[MirroredRun], list[Skipped]]:
    """The runs that `pieces` (oldest first) are of; what is none of ours, with the reason."""
    of_run: dict[str, list[Piece]] = defaultdict(list)
    skipped: list[Skipped] = []
    for piece in pieces:
        run_id = piece.config.get("run_id")
        if isinstance(run_id, str) and re.fullmatch(r"[0-9a-f]{12}", run_id):
            of_run[run_id].append(piece)
        elif piece.config.get("tiebreak") != COMPARISON:
            skipped.append((root / piece.name, "not a run of tiebreak: no run_id in its config"))
    runs = [MirroredRun(root / run_id, tuple(found)) for run_id, found in of_run.items()]
    return sorted(runs, key=lambda run: run.path.name), skipped


def status_of(summary: Mapping[str, Any], exit_code: int | None) -> str:
    """What the run said of itself last; `running` is also said of one that was killed."""
    told = summary.get("status")
    if told in STATUSES and told != "running":
        return str(told)
    return "failed" if exit_code else "running"


def _text(source: Settings | Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    if not isinstance(value, str):
        raise Unreadable(f"W&B's config has {key} {value!r}, not a text; no {MANIFEST} was sent")
    return value


def _whole(source: Mapping[str, Any], key: str) -> int:
    value = source.get(key)
    if type(value) is not int:
        raise Unreadable(f"W&B's config has {key} {value!r}, not a whole number")
    return value
