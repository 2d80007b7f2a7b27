"""Runs as W&B holds them: offline logs, read without a server, and a project of a server.

A run is one or several pieces, for a run that was resumed leaves more than one. The mirror puts
the files of the record beside the history (docs/wandb.md), so the record is read from the same
files as one of our own; W&B adds how far the run is, and its history.

The server was tried against a small one of our own, never against W&B's service; docs/wandb.md says
how many questions it is asked.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.errors import UserError
from tiebreak.track import wandb_environment
from tiebreak.track.record_format import FORMAT, MANIFEST, STATUS, STATUSES, path_in_record
from tiebreak_analysis.records.files import Missing, Row, Unreadable, settings
from tiebreak_analysis.records.record import Entry, Record, Skipped
from tiebreak_analysis.records.wandb_log import read_history, read_log

THROUGHPUT = ("seconds", "pairs/s", "response_tokens/s", "memory/peak")
"""In W&B's history beside the metrics; in the record they are a file of their own."""
COMPARISON = "comparison"
"""In W&B's config as `tiebreak`: what `tiebreak table --wandb` sent, which is no run."""
OURS = ("run_id", "group_id", "hashes", "evaluations")  # in W&B's config, and no settings
TEXT = f"a text; no {MANIFEST} was sent"
PATTERN = "*run-*/run-*.wandb"
TIMEOUT = 30
"""Seconds that one question to a server may take."""


@dataclass(frozen=True)
class MirroredRun(Entry):
    """One evaluation in the pieces of one run id, oldest first; the newer piece is believed.
    Nothing of W&B is cached."""

    pieces: tuple[Piece, ...] = ()

    @property
    def status(self) -> str:
        """Status of the newest piece; what was finished stays finished when it is shown again."""
        statuses = [piece.status for piece in self.pieces]
        return "finished" if "finished" in statuses else statuses[-1]

    def record(self) -> Record:
        try:
            return super().record()
        except Missing as reason:
            if self.status == "finished" or self.evaluation is not None:
                raise Unreadable(f"W&B does not hold the whole record: {reason}") from None
            return self._unfinished()

    def _unfinished(self) -> Record:
        """The record of a run killed or still running: its files are sent at the end."""
        sent = self.pieces[-1].config
        config = settings({k: v for k, v in sent.items() if k not in OURS})
        names = ("model", "method", "scenario", "data")
        return Record(
            path=self.path,
            run_id=self.path.name,
            group_id=_take(sent, "group_id", str, TEXT),
            status=self.status,
            **{n: _take(config, f"{n}.name", str, TEXT) for n in names},
            seed=_take(sent, "seed", int, "a whole number"),
            settings=config,
            entry=self,
        )

    def read(self, file: str) -> bytes:
        if file == STATUS:
            return json.dumps({"format": FORMAT, "status": self.status}).encode()
        path = path_in_record(file, self.evaluation)
        for piece in reversed(self.pieces):
            try:
                return piece.read(path)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(file)

    def history(self) -> list[Row]:
        return merged(row for piece in self.pieces for row in piece.rows())


def merged(rows: Iterable[Row]) -> list[Row]:
    """The rows of `metrics.jsonl` from all that was ever sent, over our own step.

    A resumed run sends the steps after its checkpoint again: what came before is cut back, as in
    the record, so each step is there once. Throughput, which W&B's rows hold too, is no metric.
    """
    kept: list[Row] = []
    for row in rows:
        step, metrics = row.get("step"), _metrics(row)
        if not metrics or not isinstance(step, int | float):
            continue  # generations, or something that was not sent by us
        while kept and kept[-1]["step"] >= step:
            kept.pop()
        kept.append({"step": int(step), **metrics})
    return kept


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
    """The entries that `pieces` (oldest first) are of; what is none of ours, with the reason."""
    of_run: dict[str, list[Piece]] = defaultdict(list)
    skipped: list[Skipped] = []
    for piece in pieces:
        run_id = piece.config.get("run_id")
        if isinstance(run_id, str) and re.fullmatch(r"[0-9a-f]{12}", run_id):
            of_run[run_id].append(piece)
        elif piece.config.get("tiebreak") != COMPARISON:
            skipped.append((root / piece.name, "not a run of tiebreak: no run_id in its config"))
    runs = [run for run_id in sorted(of_run) for run in _evaluated(root / run_id, of_run[run_id])]
    return runs, skipped


def _evaluated(path: Path, pieces: Sequence[Piece]) -> list[MirroredRun]:
    """The run once per evaluation that a piece says it sent; once if there is none."""
    listed = [piece.config.get("evaluations") for piece in pieces]
    sent = {one for ids in listed if isinstance(ids, list) for one in ids if isinstance(one, str)}
    known = sorted(one for one in sent if re.fullmatch(r"[0-9a-f]+", one))  # a part of a path
    return [MirroredRun(path, one, len(known) > 1, tuple(pieces)) for one in known or [None]]


def status_of(summary: Mapping[str, Any], exit_code: int | None) -> str:
    """Status that the run gave itself last; `running` is also that of one that was killed."""
    status = summary.get("status")
    if status in STATUSES and status != "running":
        return str(status)
    return "failed" if exit_code else "running"


def _take(source: Mapping[str, Any], key: str, kind: type, wanted: str) -> Any:
    """`source[key]` of exactly this type."""
    value = source.get(key)
    if type(value) is not kind:
        raise Unreadable(f"W&B's config has {key} {value!r}, not {wanted}")
    return value


@dataclass(frozen=True)
class Piece(ABC):
    """One log of a run, or one run of a server."""

    name: str
    config: Mapping[str, Any]
    status: str

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file by its path in the record. FileNotFoundError: the run has none. OSError."""

    @abstractmethod
    def rows(self) -> Iterable[Row]:
        """The history, as W&B has it."""


@dataclass(frozen=True)
class LogFolder(Piece):
    """One `offline-run-*` or `run-*`: the log and, below `files/`, what was saved with it."""

    path: Path

    def read(self, path: str) -> bytes:
        run_id = str(self.config["run_id"])
        return (self.path.parent / "files" / run_id / path).read_bytes()

    def rows(self) -> Iterable[Row]:
        return read_history(self.path)


@dataclass(frozen=True)
class OfflineLogs:
    """Every log below `root`. Two folders of one run id are one run that was resumed."""

    root: Path
    cache = None

    def entries(self) -> tuple[list[MirroredRun], list[Skipped]]:
        logs: list[tuple[float, str, Piece]] = []
        skipped: list[Skipped] = []
        for path in sorted(self.root.glob(PATTERN)):
            name = path.parent.name
            try:
                log = read_log(path)
            except Unreadable as reason:
                run_id = path.stem.removeprefix("run-")  # as W&B names it; usually ours
                skipped.append((self.root / run_id, f"{name}: {reason}"))
            else:
                status = status_of(log.summary, log.exit_code)
                logs.append((log.began, name, LogFolder(name, log.config, status, path)))
        logs.sort(key=lambda one: one[:2])
        runs, foreign = gather(self.root, [piece for *_, piece in logs])
        return runs, skipped + foreign


@dataclass(frozen=True)
class ServerRun(Piece):
    """One run of a W&B project."""

    run: Any

    @classmethod
    def of(cls, run: Any) -> ServerRun:
        """A crashed run is one that W&B has not heard of for some minutes: to us it was killed."""
        status = status_of(run.summary_metrics, int(run.state == "failed"))
        return cls(str(run.id), run.config, status, run)

    def read(self, path: str) -> bytes:
        name = f"{self.config['run_id']}/{path}"
        with _asking(OSError) as folder:
            found = list(self.run.files(names=[name]))
            if not found:
                raise FileNotFoundError(name)
            with found[0].download(root=str(folder), replace=True) as stream:
                return Path(stream.name).read_bytes()

    def rows(self) -> Iterable[Row]:
        with _asking(Unreadable):
            return list(self.run.scan_history(use_cache=False))


@dataclass(frozen=True)
class Project:
    """The runs of one W&B project, on the server that WANDB_BASE_URL names."""

    entity: str
    project: str
    cache = None

    @property
    def root(self) -> str:
        return f"{self.entity}/{self.project}"

    def entries(self) -> tuple[list[MirroredRun], list[Skipped]]:
        if not wandb_environment.has_key():  # wandb would ask for one, and wait
            raise UserError("wandb-api: no key; set WANDB_API_KEY, or use `wandb login`")
        return gather(Path(self.root), self._runs())

    def _runs(self) -> list[ServerRun]:
        """Oldest first."""
        import wandb

        with _asking(UserError):
            wandb.setup(wandb.Settings(silent=True))
            api = wandb.Api(timeout=TIMEOUT)
            try:
                return [ServerRun.of(run) for run in api.runs(self.root, lazy=False)]
            except ValueError as error:  # so says wandb of a project that is not there
                raise UserError(f"wandb-api:{self.root}: {error}") from None


@contextmanager
def _asking(failure: type[Exception]) -> Generator[Path]:
    """A folder that takes what wandb writes while it asks; what it lets out becomes `failure`."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    with tempfile.TemporaryDirectory() as name:
        before = wandb_environment.use_folder(Path(name)) | {
            "WANDB_DIR": os.environ.get("WANDB_DIR")
        }
        os.environ["WANDB_DIR"] = name
        try:
            yield Path(name)
        except (wandb.Error, WandbApiFailedError) as error:
            raise failure(f"W&B: {' '.join(str(error).split())[:200]}") from None
        finally:
            wandb_environment.restore(before)
