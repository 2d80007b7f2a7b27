"""Records and tables of many runs, and what was read of them before: rebuildable, never the truth.

What is cached counts only while its files have the size and the time of last change that they had
when they were read. Tables are cached by file and by the first digit of the run id: a run that
changes costs the writing of one of sixteen shards. A shard's `runs` (JSON, beside its columns)
holds key -> size and time, also of runs that have no row.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tiebreak.track.record_format import CONFIG, MANIFEST, RESULT, STATUS
from tiebreak_analysis.records.files import Missing, Unreadable
from tiebreak_analysis.records.record import PLAIN, Entry, Record, Skipped, Stamp

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERSION = b"4"
"""Version of the layout below; a cache of another one is made again without a word."""
WORTH = 200
"""Fewer runs than this are read sooner than pyarrow is imported."""
RECORDS = "records.feather"
WHOLE = ("seed", "step", "steps")
OBJECTS = ("metrics", "start", "evaluators", "overlap", "settings", "manifest")
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
    path = folder / RECORDS if folder is not None and len(entries) >= WORTH else None
    before = (open_cached(path, _by_name) if path else None) or {}
    current: dict[str, tuple[list[int], Record]] = {}
    skipped: list[Skipped] = []
    fresh = 0
    for entry in entries:
        stamps = [n for file in FILES for n in entry.stamp(file) or NO_FILE] if path else []
        row = before.get(entry.key)
        if row and row["stamps"] == stamps and row["evaluation"] == entry.evaluation:
            values = {name: row[name] for name in (*PLAIN, *OBJECTS)}
            record = Record(path=entry.path, several=entry.several, entry=entry, **values)
            current[entry.key] = (stamps, record)
            continue
        try:
            current[entry.key] = (stamps, entry.record())
            fresh += current[entry.key][1].status != "running"
        except Unreadable as reason:
            why = f"evaluation {entry.evaluation}: {reason}" if entry.several else str(reason)
            skipped.append((entry.path, why))
    if path and (fresh or before.keys() - current.keys()):
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
    import pandas as pd

    wanted = sorted(set(keys))
    tables: list[pa.Table] = []
    damaged: Damaged = []
    if cache is not None and len(wanted) >= WORTH:
        for digit, shard in groupby(wanted, lambda key: key[0]):
            path = cache / file / f"{digit}.feather"
            rows, wrong = _shard({key: entries[key] for key in shard}, file, read, path, entries)
            tables += rows
            damaged += wrong
    else:
        found, damaged = _read_tables({key: entries[key] for key in wanted}, read)
        tables += found.values()
    if not tables:
        return pd.DataFrame({name: [] for name in ("run_id", *columns)}), damaged
    table = _stacked(tables)
    gone = [n for n in table.column_names if table[n].null_count == len(table)]
    gone = [name for name in gone if name not in ("run_id", *columns)]
    return table.drop_columns(gone).to_pandas(), damaged


def _read_tables(
    entries: Mapping[str, Entry], read: ReadTable
) -> tuple[dict[str, pa.Table], Damaged]:
    """Key -> table, its first column `run_id`, of entries that have the file; and the damaged."""
    import pyarrow as pa

    tables, damaged = {}, []
    for key, entry in entries.items():
        try:
            table = read(entry)
        except Missing:
            continue
        except Unreadable as reason:
            damaged.append((key, str(reason)))
        else:
            run_id = pa.repeat(pa.scalar(key, pa.string()), len(table))
            tables[key] = table.add_column(0, "run_id", run_id)
    return tables, damaged


def _shard(
    entries: Mapping[str, Entry], file: str, read: ReadTable, path: Path, existing: Container[str]
) -> tuple[list[pa.Table], Damaged]:
    """Rows of all entries, from the cached table where their files did not change.

    existing: the keys of every entry; what the cache holds of others goes when it is next written.
    """
    known, cached = open_cached(path, _runs_and_rows) or ({}, None)
    stamps = {key: stamp for key, e in entries.items() if (stamp := e.stamp(file)) is not None}
    unchanged = {key for key, stamp in stamps.items() if known.get(key) == stamp}
    changed = {key: entries[key] for key in stamps if key not in unchanged}
    fresh, damaged = _read_tables(changed, read)
    if not fresh:
        return _rows_of(cached, unchanged), damaged
    others = {key for key in known if key in existing and key not in entries}
    rows = _stacked([*_rows_of(cached, unchanged | others), *fresh.values()]).sort_by("run_id")
    runs = {key: known[key] for key in others | unchanged} | {key: stamps[key] for key in fresh}
    save(path, rows, {b"runs": json.dumps(runs).encode()})
    return _rows_of(rows, entries), damaged


def _runs_and_rows(table: pa.Table) -> tuple[dict[str, Stamp], pa.Table]:
    """What a shard holds. ValueError: it has rows of runs that it does not list."""
    runs = json.loads(table.schema.metadata[b"runs"])
    if not runs.keys() >= set(table["run_id"].unique().to_pylist()):
        raise ValueError("it does not hold the runs it lists")
    return {key: (size, time) for key, (size, time) in runs.items()}, table


def _rows_of(table: pa.Table | None, keys: Iterable[str]) -> list[pa.Table]:
    """The rows of these runs, as one table; none where there are none of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(keys), pa.string())
    if table is None or not len(wanted):
        return []
    inside = pc.is_in(table["run_id"], wanted)  # ty: ignore[missing-attribute]
    whole = pc.all(inside).as_py()  # ty: ignore[missing-attribute]
    return [table if whole else table.filter(inside)]


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows; a column that one of them lacks is null there."""
    import pyarrow as pa

    plain = [table.replace_schema_metadata(None) for table in tables]
    return pa.concat_tables(plain, promote_options="permissive")
