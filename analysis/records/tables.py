"""The tables inside a record, read and checked: pyarrow tables with one schema per kind."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tiebreak.track.record_format import GENERATIONS
from tiebreak_analysis.records.record import Unreadable, content
from tiebreak_analysis.records.source import Entry

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("id", "prompt", "before", "after")

ReadTable = Callable[[Entry], "pa.Table"]


def parquet(file: str, lists: bool = False) -> ReadTable:
    """A reader of `file`: its columns, ids told once each. Unreadable: damaged or of no use.

    lists: columns may hold a list of numbers per row.
    """

    def read(entry: Entry) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Not `read_table`: that loads the machinery of data sets of many files.
            table = pq.ParquetFile(io.BytesIO(content(file, entry.read))).read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"{file} cannot be read: {' '.join(str(error).split())}") from None
        if "id" not in table.column_names:
            raise Unreadable(f"{file} has no column id")
        if len(table["id"].unique()) != table.num_rows:
            raise Unreadable(f"{file} names an id more than once")
        for field in table.schema:
            allowed = lists and pa.types.is_list(field.type)
            if pa.types.is_nested(field.type) and not allowed:
                raise Unreadable(f"{file}: column {field.name} holds {field.type}")
        return table

    return read


def history(entry: Entry) -> pa.Table:
    """step, then every metric as float64; what a step does not have is null."""
    import pyarrow as pa

    rows = entry.history()
    names = sorted({name for row in rows for name in row} - {"step"})
    columns: dict[str, Any] = {"step": pa.array([row["step"] for row in rows], pa.int64())}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise Unreadable(f"the history of {name} cannot be read: {error}") from None
    return pa.table(columns)


def generations(entry: Entry) -> pa.Table:
    """id, prompt, before, after as text; a prompt of several turns is JSON."""
    import pyarrow as pa

    rows = []
    for number, line in enumerate(content(GENERATIONS, entry.read).splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append([_text(row[name]) for name in TEXTS])
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{GENERATIONS}:{number} cannot be read: {error!r}") from None
    columns = zip(*rows, strict=True) if rows else [()] * len(TEXTS)
    return pa.table({n: pa.array(c, pa.string()) for n, c in zip(TEXTS, columns, strict=True)})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
