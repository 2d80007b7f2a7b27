"""Tables of many runs, cached by file and by the first digit of the run id.

Sixteen files per kind of table: a run that changes costs the writing of one of them. A shard's
`runs` (JSON, beside its columns) lists run id, size, time and number of rows, in row order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tiebreak_analysis.records.cache import open_cached, save, stamps_of
from tiebreak_analysis.records.record import Missing, Unreadable
from tiebreak_analysis.records.source import Entry, Stamp
from tiebreak_analysis.records.tables import ReadTable

if TYPE_CHECKING:
    import pyarrow as pa

Damaged = list[tuple[str, str]]


@dataclass(frozen=True)
class Block:
    """The tables of several runs below one another."""

    runs: Mapping[str, int]
    """Run id -> number of rows, in row order."""
    table: pa.Table

    def single(self) -> Iterator[Block]:
        """The same, run by run."""
        at = 0
        for name, rows in self.runs.items():
            yield Block({name: rows}, self.table.slice(at, rows))
            at += rows


def read_blocks(entries: Sequence[Entry], read: ReadTable) -> tuple[list[Block], Damaged]:
    """One block per run that has the file; the damaged by run id, with the reason."""
    blocks, damaged = [], []
    for entry in entries:
        name = entry.path.name
        try:
            table = read(entry)
            blocks.append(Block({name: table.num_rows}, table))
        except Missing:
            continue
        except Unreadable as reason:
            damaged.append((name, str(reason)))
    return blocks, damaged


def cached_blocks(
    entries: Sequence[Entry], file: str, read: ReadTable, folder: Path, existing: Container[str]
) -> tuple[list[Block], Damaged]:
    """As `read_blocks`, from the cache below `folder` where the files did not change.

    `existing`: all runs there are; what the cache holds of others goes when it is next written.
    """
    shards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        shards[entry.path.name[0]].append(entry)
    blocks, damaged = [], []
    for digit, inside in sorted(shards.items()):
        path = folder / file / f"{digit}.feather"
        more, wrong = _shard(inside, file, read, path, existing)
        blocks += more
        damaged += wrong
    return blocks, damaged


def _shard(
    entries: Sequence[Entry], file: str, read: ReadTable, path: Path, existing: Container[str]
) -> tuple[list[Block], Damaged]:
    before = open_cached(path, _Shard.of) or _Shard({}, None)
    stamps = stamps_of(entries, file)
    known = {name for name in stamps if before.stamp(name) == stamps[name]}
    changed = stamps.keys() - known
    fresh, damaged = read_blocks([one for one in entries if one.path.name in changed], read)
    if not fresh:
        return before.blocks(known), damaged
    asked = {entry.path.name for entry in entries}
    others = {name for name in before.runs if name in existing and name not in asked}
    kept = [one for block in before.blocks(known | others) for one in block.single()]
    every = sorted([*kept, *fresh], key=lambda block: list(block.runs))
    _save(path, every, {name: before.stamp(name) for name in others} | stamps)
    return [block for block in every if asked.issuperset(block.runs)], damaged


@dataclass(frozen=True)
class _Shard:
    runs: Mapping[str, tuple[int, int, int]]
    """Run id -> size, time, number of rows."""
    table: pa.Table | None

    @classmethod
    def of(cls, table: pa.Table) -> _Shard:
        runs = json.loads(table.schema.metadata[b"runs"])
        if sum(rows for _, _, rows in runs.values()) != table.num_rows:
            raise ValueError("it does not hold the rows it lists")
        return cls({name: tuple(told) for name, told in runs.items()}, table)

    def stamp(self, name: str) -> Stamp | None:
        return self.runs[name][:2] if name in self.runs else None

    def blocks(self, wanted: Container[str]) -> list[Block]:
        """The rows of these runs; those of neighbours in one piece."""
        found: list[Block] = []
        inside: dict[str, int] = {}
        began = at = 0
        for name, (_, _, rows) in self.runs.items():
            if name in wanted:
                began = began if inside else at
                inside[name] = rows
            elif inside:
                found.append(Block(inside, self._rows(began, at)))
                inside = {}
            at += rows
        return [*found, Block(inside, self._rows(began, at))] if inside else found

    def _rows(self, first: int, end: int) -> pa.Table:
        assert self.table is not None, "an empty shard has no runs"
        return self.table.slice(first, end - first)


def _save(path: Path, blocks: Sequence[Block], stamps: Mapping[str, Stamp | None]) -> None:
    told: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        for name, rows in block.runs.items():
            stamp = stamps[name]
            assert stamp is not None, "only what is on the disk was read"
            told[name] = (*stamp, rows)
    save(path, stacked(blocks), {b"runs": json.dumps(told).encode()})


def stacked(blocks: Sequence[Block]) -> pa.Table:
    """All rows; a column that one of them lacks is null there."""
    import pyarrow as pa

    tables = [block.table.replace_schema_metadata(None) for block in blocks]
    return pa.concat_tables(tables, promote_options="permissive")
