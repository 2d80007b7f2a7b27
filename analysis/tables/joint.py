"""AlpacaEval's length-controlled win rate with the difficulty of instructions, in a table: fitted
to all models of a section together, so that it is no number of one record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak_analysis.difficulty import MODELS, joint
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables.table import Section
from tiebreak_analysis.win_rates import Array, length_term

if TYPE_CHECKING:
    import pandas as pd

EVALUATOR, COLUMN = "alpaca_eval", "lc_joint"
JUDGED, METRIC = f"{EVALUATOR}/win_rate", f"{EVALUATOR}/win_rate_lc_joint"
SIDES, NEEDED = ("before", "after"), ("win", "length", "length_other")
Place = tuple[str, str]
"""Key of a record, and before (its start model) or after."""


def with_joint(
    runs: Runs, records: Sequence[Record]
) -> tuple[list[Record], Mapping[str, pd.DataFrame]]:
    """The records with one metric more, and the items of its evaluator with one column more, which
    that metric is the mean of; as they are where too few models were judged."""
    having = [record for record in records if JUDGED in record.metrics]
    frame = runs.items([record.key for record in having], EVALUATOR) if having else None
    if frame is None or not len(frame):
        return list(records), {}
    places = list(_places(frame, {record.key: record.start_model for record in having}))
    if len({model for model, _ in places}) < MODELS:
        return list(records), {}
    frame, means = _with_column(frame, places)
    return [_grown(record, means) for record in records], {EVALUATOR: frame}


def _places(frame: pd.DataFrame, starts: Mapping[str, str | None]) -> Iterator[tuple[str, Place]]:
    """What tells models apart, and where in the frame each was judged: a start model that runs
    share is one."""
    for key, rows in frame.groupby("run_id"):
        for side in SIDES:
            if _whole(rows, side).any():
                model = str(key) if side == "after" else f"start {starts[str(key)]}"
                yield model, (str(key), side)


def _whole(rows: pd.DataFrame, side: str) -> Any:
    """Where a question has a verdict and both lengths; nowhere, where a column is missing."""
    needed = [f"{name}/{side}" for name in NEEDED]
    there = set(needed) <= set(rows.columns)
    return rows[needed].notna().all(axis=1) if there else rows["id"].isna()


def _with_column(
    frame: pd.DataFrame, places: Sequence[tuple[str, Place]]
) -> tuple[pd.DataFrame, dict[Place, float]]:
    first = dict(reversed(places))  # model -> the first place where it was judged
    ids = {name: at for at, name in enumerate(dict.fromkeys(frame["id"].astype(str)))}
    wins, terms = (np.full((len(first), len(ids)), np.nan) for _ in range(2))
    for row, place in enumerate(first.values()):
        at, win, term = _judged(frame, place, ids)
        wins[row, at], terms[row, at] = win, term
    seen = np.isfinite(wins).any(0)
    items = np.full_like(wins, np.nan)
    items[:, seen] = _items(len(first), wins[:, seen].tobytes(), terms[:, seen].tobytes())
    rows_of = dict(zip(first, items, strict=True))
    means, columns = {}, {side: np.full(len(frame), np.nan) for side in SIDES}
    for model, (key, side) in places:
        rows = (frame["run_id"] == key).to_numpy()
        at = [ids[name] for name in frame["id"][rows].astype(str)]
        columns[side][rows] = rows_of[model][at]
        means[key, side] = float(np.nanmean(rows_of[model]))
    named = {f"{COLUMN}/{side}": values for side, values in columns.items()}
    return frame.assign(**named), means


@lru_cache(maxsize=16)
def _items(models: int, *content: bytes) -> Array:
    """The joint fit of wins and terms (models, n): a page that follows runs asks again."""
    wins, terms = (np.frombuffer(one).reshape(models, -1) for one in content)
    return joint(wins, terms).items


def _judged(
    frame: pd.DataFrame, place: Place, ids: Mapping[str, int]
) -> tuple[list[int], Array, Array]:
    """Places of the judged questions, preferences there, and length terms."""
    key, side = place
    rows = frame[frame["run_id"] == key]
    rows = rows[_whole(rows, side)]
    win, own, other = (rows[f"{name}/{side}"].to_numpy(float) for name in NEEDED)
    return [ids[name] for name in rows["id"].astype(str)], win, length_term(own, other)


def _grown(record: Record, means: Mapping[Place, float]) -> Record:
    before, after = (
        {METRIC: means[record.key, side]} if (record.key, side) in means else {} for side in SIDES
    )
    return replace(record, metrics={**record.metrics, **after}, start={**record.start, **before})


def joint_notes(sections: Sequence[Section]) -> Iterator[str]:
    """What the column is, where there is one."""
    if any(column.metric == METRIC for section in sections for column in section.columns):
        yield (
            f"{METRIC}: with the difficulty of each instruction, which is fitted to the models of "
            "a section together; another model beside them moves it a little"
        )
