"""Tidy pandas frames of many runs, from the tables inside their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiebreak_analysis.records.cache import WORTH
from tiebreak_analysis.records.shards import Block, Damaged, cached_blocks, read_blocks, stacked
from tiebreak_analysis.records.source import Entry
from tiebreak_analysis.records.tables import ReadTable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def frame(
    entries: Mapping[str, Entry],
    ids: Sequence[str],
    file: str,
    read: ReadTable,
    columns: Sequence[str],
    cache: Path | None,
) -> tuple[pd.DataFrame, Damaged]:
    """`run_id` and the columns of `file`, by run id and then in row order.

    `columns`: those that are there even when no run has a row. A column without any value is
    left out. A run without the file has no rows; neither has a damaged one, which is named.
    """
    wanted = [entries[name] for name in sorted(set(ids))]
    if cache is not None and len(wanted) >= WORTH:
        blocks, damaged = cached_blocks(wanted, file, read, cache, entries)
    else:
        blocks, damaged = read_blocks(wanted, read)
    return _pandas(blocks, columns), damaged


def _pandas(blocks: Sequence[Block], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    if not blocks:
        return pd.DataFrame({name: [] for name in ("run_id", *columns)})
    table = stacked(blocks)
    gone = [n for n in table.column_names if table[n].null_count == len(table)]
    table = table.drop_columns([name for name in gone if name not in columns])
    table = table.add_column(0, "run_id", _run_ids(blocks))
    return table.to_pandas()


def _run_ids(blocks: Sequence[Block]) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    names = [name for block in blocks for name in block.runs]
    assert names == sorted(names), "the rows of a run lie together, in the order of the run ids"
    counts = [count for block in blocks for count in block.runs.values()]
    at = pa.array(np.repeat(np.arange(len(names), dtype=np.int32), counts))
    return pa.DictionaryArray.from_arrays(at, pa.array(names, pa.string())).cast(pa.string())
