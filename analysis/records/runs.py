"""All runs of one source: one `Record` per readable run, the rest named; tables on request.

A record that is corrupt, partial, there twice or of another format is never averaged and never
vanishes: it stands in `Runs.skipped` and in `listing`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.home import home, runs_dir
from tiebreak.track.record_format import GENERATIONS, METRICS, PAIR_TOKENS, PAIRS, items_file
from tiebreak_analysis.records import cache_below, tables
from tiebreak_analysis.records.folder import Folder
from tiebreak_analysis.records.record import PLAIN, Record, Setting, Settings
from tiebreak_analysis.records.source import Entry, Skipped, Source, read_records
from tiebreak_analysis.records.tables import ReadTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Record", "Runs", "Setting", "Settings", "listing", "load", "setting_text", "varying"]
ITEM_COLUMNS = ("id",)


@dataclass(frozen=True)
class Runs:
    """All runs of one source, in a stable order, and what could not be read.

    `history`, `pairs`, `items` and `generations` are tidy frames: `run_id` first, sorted by it,
    a run's own order inside. They take run ids; None is every finished run. A run without the
    file has no rows. Neither has one whose file is damaged: it is named in `damaged`.
    """

    root: Path | str
    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...]
    """The folder, or for W&B a name that ends in the run id, and the reason."""
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False, compare=False)
    cache: Path | None = field(default=None, repr=False, compare=False)
    damaged: dict[tuple[str, str], str] = field(default_factory=dict, compare=False)
    """(run id, file) -> why none of its rows are in a frame. Filled as frames are asked for."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row per record, any status.

        Columns: the plain facts (`run_id` ... `start_model`), hyper-parameters that differ
        (`method.beta`), metrics (`gold/reward`), the start model's (`start/gold/reward`).
        What a run does not have is missing (NaN or None).
        """
        import pandas as pd

        settings = [
            key
            for key in varying(record.settings for record in self.records)
            if key.removesuffix(".name") not in PLAIN
        ]
        metrics = sorted({name for record in self.records for name in record.metrics})
        start = sorted({name for record in self.records for name in record.start})
        rows = [
            {
                **{name: getattr(record, name) for name in PLAIN},
                **{name: record.settings.get(name) for name in settings},
                **{name: record.metrics.get(name, math.nan) for name in metrics},
                **{f"start/{name}": record.start.get(name, math.nan) for name in start},
            }
            for record in self.records
        ]
        columns = [*PLAIN, *settings, *metrics, *(f"start/{name}" for name in start)]
        return pd.DataFrame(rows, columns=pd.Index(columns))

    def history(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """`step` (1, 2, ...) and a float column per metric of `metrics.jsonl`."""
        return self._table(ids, METRICS, tables.history, ("step",))

    def pairs(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns of `pairs.parquet`: one row per held-out pair."""
        return self._table(ids, PAIRS, tables.parquet(PAIRS), ITEM_COLUMNS)

    def pair_tokens(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns of `pair_tokens.parquet`: per held-out pair its log-probs, token by token."""
        read = tables.parquet(PAIR_TOKENS, lists=True)
        return self._table(ids, PAIR_TOKENS, read, ITEM_COLUMNS)

    def items(self, ids: Sequence[str] | None = None, benchmark: str = "gold") -> pd.DataFrame:
        """The columns of `items/<benchmark>.parquet`: one row per question."""
        file = items_file(benchmark)
        return self._table(ids, file, tables.parquet(file), ITEM_COLUMNS)

    def generations(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """`id`, `prompt`, `before` (the start model's text), `after`."""
        return self._table(ids, GENERATIONS, tables.generations, tables.TEXTS)

    def _table(
        self, ids: Sequence[str] | None, file: str, read: ReadTable, columns: Sequence[str]
    ) -> pd.DataFrame:
        from tiebreak_analysis.records.frames import frame

        if ids is None:
            ids = [record.run_id for record in self.records if record.finished]
        known = [one for one in ids if one in self.entries]
        found, damaged = frame(self.entries, known, file, read, columns, self.cache)
        self.damaged.update({(run_id, file): why for run_id, why in damaged})
        return found


def load(source: Path | Source) -> Runs:
    """Read every record of `source`; a path is a runs folder. One that is not there has no runs."""
    if isinstance(source, Path):
        source = Folder(source, cache_below(home()) if source == runs_dir() else None)
    entries, foreign = source.entries()
    records, unreadable = _records(entries, source.cache)
    single, double = _once_per_seed(records)
    skipped = sorted([*foreign, *unreadable, *double], key=lambda one: one[0].name)
    usable = {record.run_id for record in single}
    return Runs(
        source.root,
        tuple(sorted(single, key=_order)),
        tuple(skipped),
        {entry.path.name: entry for entry in entries if entry.path.name in usable},
        source.cache,
    )


def _records(entries: Sequence[Entry], folder: Path | None) -> tuple[list[Record], list[Skipped]]:
    from tiebreak_analysis.records.cache import WORTH, cached_records

    if folder is None or len(entries) < WORTH:
        return read_records(entries)
    return cached_records(entries, folder)


def _once_per_seed(records: Sequence[Record]) -> tuple[list[Record], list[Skipped]]:
    """A group and a seed are one run: where two records claim it, neither is counted."""
    claims: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        claims[record.group_id, record.seed].append(record)
    single = [found[0] for found in claims.values() if len(found) == 1]
    skipped: list[Skipped] = []
    for (group, seed), found in claims.items():
        if len(found) > 1:
            ids = ", ".join(sorted(record.run_id for record in found))
            why = f"{ids} are all of group {group}, seed {seed}; move away all but one"
            skipped += [(record.path, why) for record in found]
    return single, skipped


def listing(runs_dir: Path) -> list[dict[str, Any]]:
    """What `tiebreak runs` shows: one dict per folder under `runs_dir`, JSON without NaN.

    Records that cannot be read come last, with status `unreadable` and the reason as `error`.
    """
    runs = load(runs_dir)
    rows = [
        {
            **{name: getattr(record, name) for name in PLAIN},
            "metrics": dict(record.metrics),
            "start": dict(record.start),
        }
        for record in runs.records
    ]
    unread = dict.fromkeys(PLAIN) | {"status": "unreadable", "metrics": {}, "start": {}}
    rows += [unread | {"run_id": path.name, "error": why} for path, why in runs.skipped]
    return rows


def varying(many: Iterable[Settings]) -> list[str]:
    """The keys whose value is not the same in all of `many` (a missing key is a difference)."""
    several = list({id(one): one for one in many}.values())  # runs of a group share one object
    if len(several) < 2:
        return []
    names = sorted({name for settings in several for name in settings})
    return [
        name
        for name in names
        if len({setting_text(s[name]) if name in s else None for s in several}) > 1
    ]


def setting_text(value: Setting) -> str:
    """A value as one writes it in YAML: `0.05`, `5e-07`, `true`, `null`. 1 and 1.0 are the same."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _order(record: Record) -> tuple[str | int, ...]:
    names = (record.model, record.data, record.scenario, record.method, record.group_id)
    return (*names, record.seed, record.run_id)
