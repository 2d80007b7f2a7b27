"""Records and tables of many runs, and what was read of them before: rebuildable, never the truth.

A cached record counts only while each of its files has the size and the time of last change that
it had when it was read. Deleting the folder costs one slow load and nothing else.

Tables are cached by file and by the first digit of the run id, sixteen shards per kind of table:
a run that changes costs the writing of one of them. A shard's `runs` (JSON, beside its columns)
lists key, size, time and number of rows, in row order.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tiebreak.track.record_format import CONFIG, MANIFEST, RESULT, STATUS
from tiebreak_analysis.records.files import Missing, Unreadable
from tiebreak_analysis.records.record import (
    PLAIN,
    Entry,
    Record,
    Skipped,
    Stamp,
    key_of,
    unusable,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERSION = b"2"
"""Version of the layout below; a cache of another one is made again without a word."""
WORTH = 200
"""Fewer runs than this are read sooner than pyarrow is imported."""
RECORDS = "records.feather"
WHOLE = ("seed", "step", "steps")
OBJECTS = ("metrics", "start", "evaluators", "settings", "manifest")
FILES = (CONFIG, MANIFEST, STATUS, RESULT)
NO_FILE = (-1, -1)

T = TypeVar("T")
ReadTable = Callable[[Entry], "pa.Table"]
"""Reads one table of an entry. Unreadable; Missing where it has none."""
Damaged = list[tuple[str, str]]
"""Keys of entries, and why none of their rows are there."""


def read_records(
    entries: Sequence[Entry], folder: Path | None = None
) -> tuple[list[Record], list[Skipped]]:
    """Every record that can be used; the others by name, with the reason.

    folder: of a cache, for which only what changed since the last time is read.
    """
    if folder is not None and len(entries) >= WORTH:
        return _cached_records(entries, folder)
    records, skipped = [], []
    for entry in entries:
        try:
            records.append(entry.record())
        except Unreadable as reason:
            skipped.append(unusable(entry, reason))
    return records, skipped


def _cached_records(entries: Sequence[Entry], folder: Path) -> tuple[list[Record], list[Skipped]]:
    path = folder / RECORDS
    before = open_cached(path, _by_name) or {}
    current: dict[str, tuple[list[int], Record]] = {}
    skipped: list[Skipped] = []
    fresh = 0
    for entry in entries:
        key, stamps = key_of(entry), [n for file in FILES for n in entry.stamp(file) or NO_FILE]
        row = before.get(key)
        if row and row["stamps"] == stamps and row["evaluation"] == entry.evaluation:
            current[key] = (stamps, _record(entry, row))
            continue
        try:
            current[key] = (stamps, entry.record())
            fresh += current[key][1].status != "running"
        except Unreadable as reason:
            skipped.append(unusable(entry, reason))
    if fresh or before.keys() - current.keys():
        save(path, _table({k: one for k, one in current.items() if one[1].status != "running"}))
    return [record for _, record in current.values()], skipped


def _by_name(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Rows with their JSON parsed; equal texts (the settings of a group) are one object."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    parsed: dict[str, Any] = {}
    for name in OBJECTS:
        for text in columns[name]:
            if text not in parsed:
                parsed[text] = json.loads(text)
        columns[name] = [parsed[text] for text in columns[name]]
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return {row["name"]: row for row in rows}


def _record(entry: Entry, row: Mapping[str, Any]) -> Record:
    values = {name: row[name] for name in (*PLAIN, *OBJECTS)}
    return Record(path=entry.path, several=entry.several, entry=entry, **values)


def _table(current: Mapping[str, tuple[list[int], Record]]) -> pa.Table:
    """Records with their stamps, as columns. Running ones are left out: they change under us."""
    import pyarrow as pa

    records = [record for _, record in current.values()]
    columns: dict[str, pa.Array] = {
        "name": pa.array(list(current), pa.string()),
        "stamps": pa.array([stamps for stamps, _ in current.values()], pa.list_(pa.int64())),
    }
    for name in PLAIN:
        kind = pa.int64() if name in WHOLE else pa.string()
        columns[name] = pa.array([getattr(record, name) for record in records], kind)
    for name in OBJECTS:
        texts = [json.dumps(getattr(record, name), default=str) for record in records]
        columns[name] = pa.array(texts, pa.string()).dictionary_encode()
    return pa.table(columns)


def open_cached(path: Path, use: Callable[[pa.Table], T]) -> T | None:
    """The value that `use` makes of a cached table; None when there is none that can be used."""
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
    """Write a cached table, whole or not at all; one that cannot be written is said, and left."""
    from pyarrow import feather

    marked = table.replace_schema_metadata({b"version": VERSION, **(facts or {})})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
            temporary = Path(stream.name)
        try:
            feather.write_feather(marked, str(temporary), compression="uncompressed")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        print(f"the cache {path.name} cannot be written: {why}", file=sys.stderr)


def frame(
    entries: Mapping[str, Entry],
    keys: Iterable[str],
    file: str,
    read: ReadTable,
    columns: Sequence[str],
    cache: Path | None,
) -> tuple[pd.DataFrame, Damaged]:
    """`run_id` (the keys) and the columns of `file`, by key and then in row order.

    `columns`: those that are there even when no run has a row. A column without any value is
    left out. A run without the file has no rows; neither has a damaged one, which is named.
    """
    wanted = [entries[key] for key in sorted(set(keys))]
    if cache is not None and len(wanted) >= WORTH:
        blocks, damaged = _cached_blocks(wanted, file, read, cache, entries)
    else:
        blocks, damaged = _read_blocks(wanted, read)
    return _pandas(blocks, columns), damaged


def _pandas(blocks: Sequence[RunRows], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    if not blocks:
        return pd.DataFrame({name: [] for name in ("run_id", *columns)})
    table = _stacked(blocks)
    gone = [n for n in table.column_names if table[n].null_count == len(table)]
    table = table.drop_columns([name for name in gone if name not in columns])
    table = table.add_column(0, "run_id", _keys(blocks))
    return table.to_pandas()


def _keys(blocks: Sequence[RunRows]) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    names = [name for block in blocks for name in block.runs]
    assert names == sorted(names), "the rows of an entry lie together, in the order of the keys"
    counts = [count for block in blocks for count in block.runs.values()]
    at = pa.array(np.repeat(np.arange(len(names), dtype=np.int32), counts))
    return pa.DictionaryArray.from_arrays(at, pa.array(names, pa.string())).cast(pa.string())


@dataclass(frozen=True)
class RunRows:
    """The tables of several entries below one another."""

    runs: Mapping[str, int]
    """Key -> number of rows, in row order."""
    table: pa.Table

    def single(self) -> Iterator[RunRows]:
        """A block per entry."""
        at = 0
        for name, rows in self.runs.items():
            yield RunRows({name: rows}, self.table.slice(at, rows))
            at += rows


def _read_blocks(entries: Sequence[Entry], read: ReadTable) -> tuple[list[RunRows], Damaged]:
    """One block per entry that has the file; the damaged by key, with the reason."""
    blocks, damaged = [], []
    for entry in entries:
        try:
            table = read(entry)
            blocks.append(RunRows({key_of(entry): table.num_rows}, table))
        except Missing:
            continue
        except Unreadable as reason:
            damaged.append((key_of(entry), str(reason)))
    return blocks, damaged


def _cached_blocks(
    entries: Sequence[Entry], file: str, read: ReadTable, folder: Path, existing: Container[str]
) -> tuple[list[RunRows], Damaged]:
    """Blocks of all entries, from the cache below `folder` where their files did not change.

    existing: the keys of every entry; what the cache holds of others goes when it is next written.
    """
    shards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        shards[key_of(entry)[0]].append(entry)
    blocks, damaged = [], []
    for digit, inside in sorted(shards.items()):
        path = folder / file / f"{digit}.feather"
        more, wrong = _shard(inside, file, read, path, existing)
        blocks += more
        damaged += wrong
    return blocks, damaged


def _shard(
    entries: Sequence[Entry], file: str, read: ReadTable, path: Path, existing: Container[str]
) -> tuple[list[RunRows], Damaged]:
    before = open_cached(path, _Shard.of) or _Shard({}, None)
    by_key = {key_of(entry): entry for entry in entries}
    stamps = {key: stamp for key, e in by_key.items() if (stamp := e.stamp(file)) is not None}
    unchanged = {key for key in stamps if before.stamp(key) == stamps[key]}
    changed = stamps.keys() - unchanged
    fresh, damaged = _read_blocks([by_key[key] for key in sorted(changed)], read)
    if not fresh:
        return before.blocks(unchanged), damaged
    others = {key for key in before.runs if key in existing and key not in by_key}
    old = [one for block in before.blocks(unchanged | others) for one in block.single()]
    every = sorted([*old, *fresh], key=lambda block: list(block.runs))
    _save_shard(path, every, {key: before.stamp(key) for key in others} | stamps)
    return [block for block in every if by_key.keys() >= block.runs.keys()], damaged


@dataclass(frozen=True)
class _Shard:
    runs: Mapping[str, tuple[int, int, int]]
    """Key -> size, time, number of rows."""
    table: pa.Table | None

    @classmethod
    def of(cls, table: pa.Table) -> _Shard:
        runs = json.loads(table.schema.metadata[b"runs"])
        if sum(rows for _, _, rows in runs.values()) != table.num_rows:
            raise ValueError("it does not hold the rows it lists")
        return cls({name: tuple(row) for name, row in runs.items()}, table)

    def stamp(self, name: str) -> Stamp | None:
        return self.runs[name][:2] if name in self.runs else None

    def blocks(self, wanted: Container[str]) -> list[RunRows]:
        """The rows of these runs; those of neighbours in one piece."""
        found: list[RunRows] = []
        inside: dict[str, int] = {}
        began = at = 0
        for name, (_, _, rows) in self.runs.items():
            if name in wanted:
                began = began if inside else at
                inside[name] = rows
            elif inside:
                found.append(RunRows(inside, self._rows(began, at)))
                inside = {}
            at += rows
        return [*found, RunRows(inside, self._rows(began, at))] if inside else found

    def _rows(self, first: int, end: int) -> pa.Table:
        assert self.table is not None, "an empty shard has no runs"
        return self.table.slice(first, end - first)


def _save_shard(path: Path, blocks: Sequence[RunRows], stamps: Mapping[str, Stamp | None]) -> None:
    rows_of: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        for name, rows in block.runs.items():
            stamp = stamps[name]
            assert stamp is not None, "only what is on the disk was read"
            rows_of[name] = (*stamp, rows)
    save(path, _stacked(blocks), {b"runs": json.dumps(rows_of).encode()})


def _stacked(blocks: Sequence[RunRows]) -> pa.Table:
    """All rows; a column that one of them lacks is null there."""
    import pyarrow as pa

    tables = [block.table.replace_schema_metadata(None) for block in blocks]
    return pa.concat_tables(tables, promote_options="permissive")
