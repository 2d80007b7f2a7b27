"""The record: the files a run leaves in `runs/<run id>/`, listed in docs/records.md. A process
killed at any moment leaves one that can be reopened: whole files appear by rename, and the two logs
are lines, of which the last may be torn and is then dropped.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from tiebreak import provenance
from tiebreak.errors import Busy, UserError
from tiebreak.store import FULL, UNWRITABLE, disk_errors, try_lock
from tiebreak.track import record_format as names


class Record(AbstractContextManager["Record"]):
    """Writer of one run's record. Rank 0 opens one; a second writer of the same run is refused."""

    def __init__(self, folder: Path, manifest: dict[str, Any], lock: int) -> None:
        self.folder, self.manifest, self._lock = folder, manifest, lock
        self._last_speed = _cut(folder / names.THROUGHPUT, None)
        self._copied: int | None = None

    @classmethod
    def open(cls, run_dir: Path, config_yaml: str, manifest: Mapping[str, Any]) -> Self:
        """Create the record, or reopen the one a killed run left: times, stages and hashes stay;
        versions, commit and host of the earlier process are kept under `earlier` where they
        differ. UserError: another process writes this record, its format is not ours, or it belongs
        to another run."""
        lock = _take_lock(run_dir)
        try:
            fresh = _continue(run_dir, {**manifest, "format": names.FORMAT})
            _write(run_dir / names.CONFIG, config_yaml.encode())
            write_json(run_dir / names.MANIFEST, fresh)
            return cls(run_dir, fresh, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Let another process write. The kernel does this too when the process dies."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def __exit__(self, *_: object) -> None:
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
        assert status in names.STATUSES, status
        assert last_checkpoint is None or not os.path.isabs(last_checkpoint), last_checkpoint
        content = {
            "format": names.FORMAT, "status": status, "stage": stage, "step": step, "steps": steps,
            "error": error, "last_checkpoint": last_checkpoint,
        }  # fmt: skip
        write_json(self.folder / names.STATUS, content, sync=status != "running")

    def copy_log(self, log: Path) -> list[dict[str, Any]]:
        """Make `metrics.jsonl` equal to the training log of an artefact, which may still grow; the
        rows it had not yet. Where ours is no beginning of it (another attempt came further than
        this one's checkpoint), ours is written anew."""
        content = log.read_bytes()
        content = content[: content.rfind(b"\n") + 1]  # whole lines
        ours = self.folder / names.METRICS
        if self._copied is None:
            written = ours.read_bytes() if ours.is_file() else b""
            begins = written[-1:] in (b"", b"\n") and content.startswith(written)
            self._copied = len(written) if begins else 0
            if not begins or not ours.is_file():
                _write(ours, content[: self._copied])
        new = content[self._copied :]
        with disk_errors(self.folder, FULL), ours.open("ab") as stream:
            stream.write(new)
        self._copied = len(content)
        return [json.loads(line) for line in new.splitlines()]

    def throughput(self, step: int, row: Mapping[str, Any]) -> None:
        """Append what a clock or the machine decides for optimiser step `step` (1, 2, ...)."""
        assert "step" not in row, "the step is an argument"
        assert step > self._last_speed, f"step {step} after step {self._last_speed}"
        line = dumps({"step": step, **row}, f"{self.folder / names.THROUGHPUT}, step {step}")
        with disk_errors(self.folder, FULL), open(self.folder / names.THROUGHPUT, "a") as stream:
            stream.write(line + "\n")
        self._last_speed = step

    def resume(self, step: int) -> None:
        """Training goes on from the checkpoint at `step`: what was measured after it goes."""
        self._last_speed = _cut(self.folder / names.THROUGHPUT, step)
        self._copied = None

    def update_manifest(self, **fields: Any) -> None:
        """Replace top-level fields of `manifest.json` (stages, hashes, dropped, ...)."""
        self.manifest = {**self.manifest, **fields}
        write_json(self.folder / names.MANIFEST, self.manifest)

    def write_jsonl(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """One object per line, whole file at once (`generations.jsonl`)."""
        path = self.folder / name
        lines = [dumps(row, f"{path}:{number}") for number, row in enumerate(rows, 1)]
        _write(path, "".join(line + "\n" for line in lines).encode())

    def write_parquet(self, name: str, columns: Mapping[str, Any]) -> None:
        """A table by columns of equal length, in the order given; None is a missing value."""
        import pyarrow
        import pyarrow.parquet

        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)), sink)
        _write(self.folder / name, sink.getvalue().to_pybytes())

    def finish(self, evaluation_id: str, result: Mapping[str, Any]) -> None:
        """Write the time, the status and, last, an evaluation's `result.json`: with it the run is
        done, and a process killed before it leaves a run that the same command ends."""
        of_run = {k: self.manifest[k] for k in ("run_id", "group_id", "seed")}
        path = self.folder / names.path_in_record(names.RESULT, evaluation_id)
        times = self.manifest["times"]
        if not times["finished"]:
            self.update_manifest(times={**times, "finished": provenance.now()})
        self.status("finished")
        write_json(path, {**result, **of_run, "evaluation": evaluation_id, "format": names.FORMAT})


def _take_lock(run_dir: Path) -> int:
    with disk_errors(run_dir, FULL + UNWRITABLE):
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(run_dir / names.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for _ in range(5):  # `is_live` holds it for a moment
        if try_lock(lock):
            return lock
        time.sleep(0.05)
    os.close(lock)
    raise Busy(f"another process is running {run_dir}; wait for it or stop it")


def _continue(run_dir: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The manifest to write: `fresh`, or `fresh` continuing the one that is there."""
    if not (run_dir / names.MANIFEST).exists():
        return {**fresh, "times": {"started": provenance.now(), "finished": None}}
    before = _read(run_dir / names.MANIFEST)
    read_status(run_dir)  # refuses one of another format
    if before["run_id"] != fresh["run_id"]:
        raise UserError(
            f"{run_dir} holds run {before['run_id']}, not {fresh['run_id']}; move it away"
        )
    made_by = {k: before.get(k) for k in ("versions", "git", "host")}
    earlier = list(before.get("earlier", []))
    if made_by != {k: fresh.get(k) for k in made_by}:
        earlier.append(made_by)
    same = {k: before[k] for k in ("times", "stages", "dropped", "hashes") if before.get(k)}
    return {**fresh, **same, **({"earlier": earlier} if earlier else {})}


def dumps(value: Any, where: str) -> str:
    """One line of JSON with sorted keys; a float is written so that it reads back the same.
    UserError for NaN and infinity (JSON has neither), naming the entry."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise UserError(f"{where}: {_not_finite(value)}; nothing was written") from error


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """A JSON file with sorted keys, whole or not at all. UserError as of `dumps`."""
    dumps(value, str(path))  # for its message
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    _write(path, text.encode(), sync=sync)


def _not_finite(value: Any, name: str = "") -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name or 'the value'} is {value}"
    values = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    items = values.items() if isinstance(values, Mapping) else ()
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
    rows = [(at, line) for at, line in rows if step is None or at <= step]
    text = b"".join(line + b"\n" for _, line in rows)
    if text != content:
        _write(path, text)
    return rows[-1][0] if rows else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); move {path.parent} away") from error
    found = content.get("format") if isinstance(content, dict) else None
    if (why := names.foreign_format(found)) is not None:
        raise UserError(f"{path.parent} is {why}")
    return content


def read_manifest(run_dir: Path) -> dict[str, Any]:
    return _read(run_dir / names.MANIFEST)


def read_status(run_dir: Path) -> dict[str, Any] | None:
    """`status.json`, or None before the first status. UserError: corrupt, or another format."""
    return _read(run_dir / names.STATUS) if (run_dir / names.STATUS).exists() else None


def read_result(run_dir: Path, evaluation_id: str) -> dict[str, Any]:
    """`result.json` of an evaluation; empty before there is one."""
    try:
        return _read(run_dir / names.path_in_record(names.RESULT, evaluation_id))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines. A line ends at a newline and nowhere else: answers of a model
    may hold the other characters that end a line of text (U+2028, U+0085)."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def is_done(run_dir: Path, evaluation_id: str, evaluators: Mapping[str, str]) -> bool:
    """Whether everything was measured that is asked for (evaluator -> definition)."""
    made = read_result(run_dir, evaluation_id).get("evaluators")
    return made is not None and evaluators.items() <= made.items()


def is_live(run_dir: Path) -> bool:
    """Whether a process is writing this record now: tells `running` from killed."""
    try:
        lock = os.open(run_dir / names.LOCK, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)
