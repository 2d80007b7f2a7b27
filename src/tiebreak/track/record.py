"""The record: the files a run leaves in `runs/<run id>/`. Everything else is made from them.

A process killed at any moment leaves a record that can be reopened: whole files appear by rename,
and the two logs are lines, of which the last may be torn and is then dropped. docs/records.md
lists every file and field.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiebreak import provenance
from tiebreak.errors import Busy, UserError
from tiebreak.store import FULL, UNWRITABLE, disk_errors
from tiebreak.track.record_format import (
    CONFIG,
    FORMAT,
    LOCK,
    MANIFEST,
    METRICS,
    RESULT,
    STATUS,
    STATUSES,
    THROUGHPUT,
)


class Record:
    """Writer of one run's record. Rank 0 opens one; a second writer of the same run is refused."""

    def __init__(self, folder: Path, manifest: dict[str, Any], lock: int) -> None:
        self.folder = folder
        self.manifest = manifest
        self._lock = lock
        self._last = {name: _cut(folder / name, None) for name in (METRICS, THROUGHPUT)}

    @classmethod
    def open(cls, run_dir: Path, config_yaml: str, manifest: Mapping[str, Any]) -> Self:
        """Create the record, or reopen the one a killed run left.

        On reopening, `times.started` stays, and the versions, commit and host of the earlier
        process are kept under `earlier` where they differ. UserError: another process writes this
        record, its format is not ours, or it belongs to another run.
        """
        lock = _take_lock(run_dir)
        try:
            fresh = _continue(run_dir, {**manifest, "format": FORMAT})
            _write(run_dir / CONFIG, config_yaml.encode())
            _write(run_dir / MANIFEST, _pretty(fresh, run_dir / MANIFEST))
            return cls(run_dir, fresh, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Let another process write. The kernel does this too when the process dies."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def status(
        self,
        status: str,
        *,
        stage: str | None = None,
        step: int | None = None,
        steps: int | None = None,
        error: str | None = None,
        last_checkpoint: str | None = None,
    ) -> None:
        """Replace `status.json`. What is not given is null: nothing is carried over."""
        assert status in STATUSES, status
        assert last_checkpoint is None or not os.path.isabs(last_checkpoint), last_checkpoint
        content = {
            "format": FORMAT,
            "status": status,
            "stage": stage,
            "step": step,
            "steps": steps,
            "error": error,
            "last_checkpoint": last_checkpoint,
        }
        self.write_json(STATUS, content, sync=status != "running")

    def metrics(self, step: int, row: Mapping[str, Any]) -> None:
        """Append `row` for optimiser step `step` (1, 2, ...) to `metrics.jsonl`, flushed."""
        self._append(METRICS, step, row)

    def throughput(self, step: int, row: Mapping[str, Any]) -> None:
        """The same for what a clock or the machine decides: `throughput.jsonl`."""
        self._append(THROUGHPUT, step, row)

    def _append(self, name: str, step: int, row: Mapping[str, Any]) -> None:
        assert "step" not in row, "the step is an argument"
        assert step > self._last[name], f"{name}: step {step} after step {self._last[name]}"
        line = dumps({"step": step, **row}, f"{self.folder / name}, step {step}")
        with disk_errors(self.folder, FULL), open(self.folder / name, "a") as stream:
            stream.write(line + "\n")
        self._last[name] = step

    def cut_back(self, step: int) -> None:
        """Drop rows after `step` from both logs: the run goes on from that step's checkpoint."""
        for name in (METRICS, THROUGHPUT):
            self._last[name] = _cut(self.folder / name, step)

    def update_manifest(self, **fields: Any) -> None:
        """Replace top-level fields of `manifest.json` (stages, hashes, dropped, ...)."""
        self.manifest = {**self.manifest, **fields}
        self.write_json(MANIFEST, self.manifest)

    def write_json(self, name: str, value: Any, *, sync: bool = True) -> None:
        _write(self.folder / name, _pretty(value, self.folder / name), sync=sync)

    def write_jsonl(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """One object per line, whole file at once (`generations.jsonl`)."""
        path = self.folder / name
        lines = [dumps(row, f"{path}:{number}") for number, row in enumerate(rows, 1)]
        _write(path, "".join(line + "\n" for line in lines).encode())

    def write_parquet(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A table by columns of equal length, in the order given; None is a missing value."""
        import pyarrow
        import pyarrow.parquet

        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)), sink)
        _write(self.folder / name, sink.getvalue().to_pybytes())

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json` from {"metrics", "start"}, then the time, then the status."""
        of_run = {k: self.manifest[k] for k in ("run_id", "group_id", "seed")}
        for name, value in of_run.items():
            assert result.get(name, value) == value, f"result of another run: {name}"
        self.write_json(RESULT, {**result, **of_run, "format": FORMAT})
        self.update_manifest(times={**self.manifest["times"], "finished": provenance.now()})
        self.status("finished")


def _take_lock(run_dir: Path) -> int:
    with disk_errors(run_dir, FULL + UNWRITABLE):
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for _ in range(5):  # `is_live` holds it for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(0.05)
    os.close(lock)
    raise Busy(f"another process is running {run_dir}; wait for it or stop it")


def _continue(run_dir: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The manifest to write: `fresh`, or `fresh` continuing the one that is there."""
    if not (run_dir / MANIFEST).exists():
        return {**fresh, "times": {"started": provenance.now(), "finished": None}}
    before = _read(run_dir / MANIFEST)
    if before["run_id"] != fresh["run_id"]:
        raise UserError(
            f"{run_dir} holds run {before['run_id']}, not {fresh['run_id']}; move it away"
        )
    made_by = {k: before.get(k) for k in ("versions", "git", "host")}
    earlier = list(before.get("earlier", []))
    if made_by != {k: fresh.get(k) for k in made_by}:
        earlier.append(made_by)
    kept = {"times": {"started": before["times"]["started"], "finished": None}}
    return {**fresh, **kept, **({"earlier": earlier} if earlier else {})}


def dumps(value: Any, where: str) -> str:
    """One line of JSON with sorted keys; a float is written so that it reads back the same.

    UserError for NaN and infinity (JSON has neither), naming the entry.
    """
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise UserError(f"{where}: {_not_finite(value)}; nothing was written") from error


def _pretty(value: Any, path: Path) -> bytes:
    dumps(value, str(path))  # for its message
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def _not_finite(value: Any, name: str = "") -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name or 'the value'} is {value}"
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    found = (_not_finite(child, f"{name}.{k}" if name else str(k)) for k, child in items)
    return next((text for text in found if text), "")


def _write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Whole or not at all: a temporary file beside it, then a rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path.parent, FULL + UNWRITABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.replace(temporary, path)


def _cut(path: Path, step: int | None) -> int:
    """Keep whole rows up to `step` (None: all of them); the last step kept, or 0."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]  # a kill can tear only the last line
    try:
        rows = [(json.loads(line)["step"], line) for line in whole.split(b"\n")[:-1]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); move {path.parent} away") from error
    kept = [(at, line) for at, line in rows if step is None or at <= step]
    text = b"".join(line + b"\n" for _, line in kept)
    if text != content:
        _write(path, text)
    return kept[-1][0] if kept else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); move {path.parent} away") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(
            f"{path.parent} is a record of format {found!r}, expected {FORMAT}; "
            "move it away or set TIEBREAK_HOME"
        )
    return content


def read_manifest(run_dir: Path) -> dict[str, Any]:
    return _read(run_dir / MANIFEST)


def read_status(run_dir: Path) -> dict[str, Any] | None:
    """`status.json`, or None before the first status. UserError: corrupt, or another format."""
    return _read(run_dir / STATUS) if (run_dir / STATUS).exists() else None


def read_result(run_dir: Path) -> dict[str, Any]:
    """`result.json` of a finished run; FileNotFoundError before that."""
    return _read(run_dir / RESULT)


def is_finished(run_dir: Path) -> bool:
    """Whether the run has its result and said so."""
    status = read_status(run_dir)
    said_so = status is not None and status["status"] == "finished"
    return said_so and (run_dir / RESULT).is_file()


def mark_failed(run_dir: Path, why: str) -> None:
    """Say so in the record of a run whose process could not: it was killed."""
    if not run_dir.is_dir():
        return
    status = read_status(run_dir)
    begun = status is not None and status["status"] in ("running", "stopped")
    if status is not None and begun and not is_live(run_dir):
        failed = {**status, "status": "failed", "error": why}
        _write(run_dir / STATUS, _pretty(failed, run_dir / STATUS))


def is_live(run_dir: Path) -> bool:
    """Whether a process is writing this record now: tells `running` from killed."""
    try:
        lock = os.open(run_dir / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
