"""What was read before, in columns: rebuildable at any time, and never the truth.

A cached record counts only while each of its files has the size and the time of last change that
it had when it was read. Deleting the folder costs one slow load and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tiebreak_analysis.records.record import FILES, PLAIN, Record, Unreadable
from tiebreak_analysis.records.source import Entry, Skipped, Stamp

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = b"1"
"""Of the layout below; a cache of another version is made again without a word."""
WORTH = 200
"""Fewer runs than this are read sooner than pyarrow is imported."""
RECORDS = "records.feather"
WHOLE = ("seed", "step", "steps")
TEXTS = ("metrics", "start", "settings", "manifest")
NO_FILE = (-1, -1)

T = TypeVar("T")


def cached_records(entries: Sequence[Entry], folder: Path) -> tuple[list[Record], list[Skipped]]:
    """As `read_records`, but only what changed since the last time is read."""
    path = folder / RECORDS
    before = open_cached(path, _by_name) or {}
    kept: dict[str, tuple[list[int], Record]] = {}
    skipped: list[Skipped] = []
    fresh = 0
    for entry in entries:
        stamps = [number for file in FILES for number in entry.stamp(file) or NO_FILE]
        known = before.get(entry.path.name)
        if known is not None and known["stamps"] == stamps:
            kept[entry.path.name] = (stamps, _record(entry.path, known))
            continue
        try:
            kept[entry.path.name] = (stamps, entry.record())
            fresh += kept[entry.path.name][1].status != "running"
        except Unreadable as reason:
            skipped.append((entry.path, str(reason)))
    if fresh or before.keys() - kept.keys():
        save(path, _table({name: one for name, one in kept.items() if one[1].status != "running"}))
    return [record for _, record in kept.values()], skipped


def _by_name(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Rows with their texts parsed; equal texts (the settings of a group) are one object."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    parsed: dict[str, Any] = {}
    for name in TEXTS:
        for text in columns[name]:
            if text not in parsed:
                parsed[text] = json.loads(text)
        columns[name] = [parsed[text] for text in columns[name]]
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return {row["name"]: row for row in rows}


def _record(path: Path, row: Mapping[str, Any]) -> Record:
    return Record(path=path, **{name: row[name] for name in (*PLAIN, *TEXTS)})


def _table(kept: Mapping[str, tuple[list[int], Record]]) -> pa.Table:
    """Running records are left out: they change under us."""
    import pyarrow as pa

    records = [record for _, record in kept.values()]
    columns: dict[str, pa.Array] = {
        "name": pa.array(list(kept), pa.string()),
        "stamps": pa.array([stamps for stamps, _ in kept.values()], pa.list_(pa.int64())),
    }
    for name in PLAIN:
        kind = pa.int64() if name in WHOLE else pa.string()
        columns[name] = pa.array([getattr(record, name) for record in records], kind)
    for name in TEXTS:
        texts = [json.dumps(getattr(record, name), default=str) for record in records]
        columns[name] = pa.array(texts, pa.string()).dictionary_encode()
    return pa.table(columns)


def open_cached(path: Path, use: Callable[[pa.Table], T]) -> T | None:
    """What `use` makes of a cached table; None when there is none that can be used."""
    import pyarrow as pa
    from pyarrow import feather

    try:
        table = feather.read_table(path, memory_map=True)
        if (table.schema.metadata or {}).get(b"version") != VERSION:
            return None
        return use(table)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        print(f"the cache {path.name} is damaged and is made again: {why}", file=sys.stderr)
        return None


def save(path: Path, table: pa.Table, facts: Mapping[bytes, bytes] | None = None) -> None:
    """Whole or not at all. A cache that cannot be written is said and done without."""
    from pyarrow import feather

    told = table.replace_schema_metadata({b"version": VERSION, **(facts or {})})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
            temporary = Path(stream.name)
        try:
            feather.write_feather(told, str(temporary), compression="uncompressed")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        print(f"the cache {path.name} cannot be written: {why}", file=sys.stderr)


def stamps_of(entries: Iterable[Entry], file: str) -> dict[str, Stamp]:
    """By run id, of the entries that have `file`."""
    found = {entry.path.name: entry.stamp(file) for entry in entries}
    return {name: stamp for name, stamp in found.items() if stamp is not None}
