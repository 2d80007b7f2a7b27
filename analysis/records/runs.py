"""All runs of one source: a `Record` per readable entry, the rest named; tables on request.

A record that is corrupt, partial, there twice or of another format is never averaged and never
vanishes: it stands in `Runs.skipped` and in `listing`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.errors import UserError
from tiebreak.home import home, runs_dir
from tiebreak.track.record_format import GENERATIONS, METRICS, PAIR_TOKENS, PAIRS, items_file
from tiebreak_analysis.records import files
from tiebreak_analysis.records.cache import ReadTable, frame, read_records
from tiebreak_analysis.records.files import TEXTS, Setting, Settings
from tiebreak_analysis.records.record import PLAIN, Entry, Folder, Record, RunSource, Skipped

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Record", "Runs", "Setting", "Settings", "listing", "load", "setting_text", "varying"]
SOURCES = "FOLDER (own records), wandb:FOLDER (offline logs), wandb-api:ENTITY/PROJECT"


@dataclass(frozen=True)
class Runs:
    """All runs of one source, in a stable order, and what could not be read.

    A run is there once per evaluation, and once if it has none. `history`, `pairs`, `items` and
    `generations` are tidy frames: `run_id` first, which holds `Record.key`, sorted by it, a run's
    own order inside. They take such keys; None is every finished record. A run without the file
    has no rows. Neither has one whose file is damaged: it is named in `damaged`.
    """

    root: Path | str
    records: tuple[Record, ...]
    skipped: tuple[Skipped, ...]
    """The folder, or for W&B a name that ends in the run id, and the reason."""
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False, compare=False)
    cache: Path | None = field(default=None, repr=False, compare=False)
    damaged: dict[tuple[str, str], str] = field(default_factory=dict, compare=False)
    """(key, file) -> why none of its rows are in a frame. Filled as frames are asked for."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row per record, any status.

        Columns: the plain facts (`run_id` ... `start_model`), hyper-parameters that differ
        (`method.beta`), metrics (`gold/reward`), the start model's (`start/gold/reward`).
        What a run does not have is missing (NaN or None).
        """
        import pandas as pd

        differing = varying(record.settings for record in self.records)
        settings = [key for key in differing if key.removesuffix(".name") not in PLAIN]
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

    def measured_by(self, wanted: Iterable[tuple[str, str | None]]) -> Runs:
        """These runs without evaluations that are not wanted.

        wanted: run ids with the id of an evaluation; None is any. Runs that have no evaluation
        yet, or that `wanted` does not name, stay as they are.
        """
        ids: dict[str, set[str | None]] = defaultdict(set)
        for run_id, evaluation in wanted:
            ids[run_id].add(evaluation)
        chosen = (
            record
            for record in self.records
            if record.evaluation is None
            or ids.get(record.run_id, {None}) & {record.evaluation, None}
        )
        return replace(self, records=tuple(chosen))

    def history(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """`step` (1, 2, ...) and a float column per metric of `metrics.jsonl`."""
        return self._table(keys, METRICS, lambda one: files.history_table(one.history()), ("step",))

    def pairs(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns of `pairs.parquet`: one row per held-out pair."""
        return self._parquet(keys, PAIRS)

    def pair_tokens(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """The columns of `pair_tokens.parquet`: per held-out pair its log-probs, token by token."""
        return self._parquet(keys, PAIR_TOKENS, lists=True)

    def items(self, keys: Sequence[str] | None = None, evaluator: str = "gold") -> pd.DataFrame:
        """The columns of `items/<evaluator>.parquet`: one row per question."""
        return self._parquet(keys, items_file(evaluator))

    def generations(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """`id`, `prompt`, `before` (the start model's text), `after`."""
        return self._table(keys, GENERATIONS, lambda one: files.generations_table(one.read), TEXTS)

    def _parquet(self, keys: Sequence[str] | None, file: str, lists: bool = False) -> pd.DataFrame:
        return self._table(keys, file, lambda one: files.parquet(file, one.read, lists), ("id",))

    def _table(
        self, keys: Sequence[str] | None, file: str, read: ReadTable, columns: Sequence[str]
    ) -> pd.DataFrame:
        if keys is None:
            keys = [record.key for record in self.records if record.finished]
        known = [key for key in keys if key in self.entries]
        rows, damaged = frame(self.entries, known, file, read, columns, self.cache)
        self.damaged.update({(key, file): why for key, why in damaged})
        return rows


def source_from(text: str) -> RunSource:
    """The source that `--source` names. UserError: no such folder, nothing in it, or no source."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "wandb-api":
        from tiebreak_analysis.records.wandb import Project

        entity, _, project = rest.partition("/")
        if not entity or not project or "/" in project:
            raise UserError(f"--source {text}: give wandb-api:ENTITY/PROJECT")
        return Project(entity, project)
    if colon and kind == "wandb":
        from tiebreak_analysis.records.wandb import PATTERN, OfflineLogs

        logs = Path(rest)
        if not logs.is_dir():
            raise UserError(f"--source wandb:{logs}: no such folder")
        if not any(logs.glob(PATTERN)):
            raise UserError(
                f"--source wandb:{logs}: no W&B log in it; give the folder that holds "
                "offline-run-* (and run-*), usually wandb below the home"
            )
        return OfflineLogs(logs)
    folder = Path(text)
    if not folder.is_dir():
        raise UserError(f"--source {text!r}: no such folder; it may be {SOURCES}")
    return _own(folder, folder.resolve())


def _own(folder: Path, place: Path) -> Folder:
    """A folder of own records; those of the home have a cache, for others nothing is written."""
    return Folder(folder, home() / ".tiebreak" / "cache" if place == runs_dir() else None)


def load(source: Path | RunSource) -> Runs:
    """Read every record of `source`; a path is a runs folder. One that is not there has no runs."""
    if isinstance(source, Path):
        source = _own(source, source)
    entries, foreign = source.entries()
    records, unreadable = read_records(entries, source.cache)
    single, double = _once_per_seed(records)
    skipped = sorted([*foreign, *unreadable, *double], key=lambda one: one[0].name)
    usable = {record.key for record in single}
    return Runs(
        source.root,
        tuple(sorted(single, key=_order)),
        tuple(skipped),
        {entry.key: entry for entry in entries if entry.key in usable},
        source.cache,
    )


def _once_per_seed(records: Sequence[Record]) -> tuple[list[Record], list[Skipped]]:
    """A group and a seed are one run: where two runs claim it, neither is counted."""
    claims: dict[tuple[str, int], dict[str, Path]] = defaultdict(dict)
    for record in records:
        claims[record.group_id, record.seed][record.run_id] = record.path
    single = [record for record in records if len(claims[record.group_id, record.seed]) == 1]
    skipped: list[Skipped] = []
    for (group, seed), paths in claims.items():
        if len(paths) > 1:
            why = f"{', '.join(sorted(paths))} are all of group {group}, seed {seed}"
            skipped += [(path, f"{why}; move away all but one") for path in paths.values()]
    return single, skipped


def listing(runs_dir: Path) -> list[dict[str, Any]]:
    """What `tiebreak runs` shows: a dict per entry under `runs_dir`, JSON without NaN.

    Records that cannot be read come last, with status `unreadable` and the reason as `error`.
    """
    runs = load(runs_dir)
    names = (*PLAIN, "metrics", "start")
    rows: list[dict[str, Any]]
    rows = [{name: getattr(record, name) for name in names} for record in runs.records]
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
    return (*names, record.seed, record.run_id, record.evaluation or "")
