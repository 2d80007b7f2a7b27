"""An offline `.wandb` log, read without a server.

Framing is that of LevelDB's log (github.com/google/leveldb, doc/log_format.md): blocks of 32 KiB,
in them pieces with a header of checksum (4 bytes), length (2) and type (1), little endian. wandb
writes seven bytes of its own before the first piece and uses the plain CRC-32. A whole record is
one protobuf message `Record` of wandb's, which is no public interface: pyproject.toml pins the
version, and a test compares with `wandb leet inspect`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiebreak_analysis.records.files import Row, Unreadable

MAGIC = b":W&B"
PREFIX = 7
BLOCK = 32 * 1024
HEADER = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Log:
    """One log without its history: the run's ids, config and summary, and how it ended."""

    run_id: str | None = None
    """W&B's name of the run; ours is in the config."""
    began: float = 0.0
    """Seconds since 1970."""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    """None: it was killed, or still runs."""


def read_log(path: Path) -> Log:
    """Unreadable: damaged, or no log. A last record torn by a kill is left out."""
    log = Log()
    for kind, record in _records(path):
        if kind == "run":
            log.run_id = record.run.run_id
            log.began = record.run.start_time.seconds + record.run.start_time.nanos / 1e9
            log.config |= _values(record.run.config.update)
        elif kind == "config":
            log.config |= _values(record.config.update)
        elif kind == "summary":
            log.summary |= _values(record.summary.update)
        elif kind == "exit":
            log.exit_code = record.exit.exit_code
    return log


def read_history(path: Path) -> Iterator[Row]:
    """The logged rows, in the order they were logged."""
    for kind, record in _records(path):
        if kind == "history":
            yield _values(record.history.item)


def _values(items: Iterable[Any]) -> dict[str, Any]:
    """A key of several parts lies in an object in an object; ours have one, with slashes in it."""
    found: dict[str, Any] = {}
    for one in items:
        *above, last = one.nested_key or [one.key]
        inside = found
        for part in above:
            inside = inside.setdefault(part, {})
        try:
            inside[last] = json.loads(one.value_json)
        except ValueError as error:
            raise Unreadable(f"the W&B log holds {last} that is no JSON: {error}") from None
    return found


def _records(path: Path) -> Iterator[tuple[str | None, Any]]:
    """Kind and content of each record."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as messages

    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"the W&B log cannot be read: {error.strerror}") from None
    for at, raw in pieces(content):
        record = messages.Record()  # ty: ignore[missing-attribute]
        try:
            record.ParseFromString(raw)
        except DecodeError as error:
            raise Unreadable(f"the W&B log is damaged near byte {at}: {error}") from None
        yield record.WhichOneof("record_type"), record


def pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Each whole record: the byte it begins at, and its bytes."""
    if content[: len(MAGIC)] != MAGIC:
        raise Unreadable("this is not a W&B log")
    at, began, parts = PREFIX, PREFIX, []
    while at + HEADER.size <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER.size:  # no header is begun so near the end of a block
            at += left
            continue
        checksum, length, kind = HEADER.unpack_from(content, at)
        if (checksum, length, kind) == (0, 0, 0):  # the rest of this block was never written
            at += left
            continue
        body = content[at + HEADER.size : at + HEADER.size + length]
        if len(body) < length:  # torn by a kill
            return
        if zlib.crc32(bytes([kind]) + body) != checksum or (kind in (MIDDLE, LAST)) != bool(parts):
            raise Unreadable(f"the W&B log is damaged near byte {at}")
        began = began if parts else at
        parts.append(body)
        at += HEADER.size + length
        if kind in (WHOLE, LAST):
            yield began, b"".join(parts)
            parts = []
