"""Benchmarks question by question for the page: which of them each model gets right."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak.metrics import Metric, benchmark_metric
from tiebreak_analysis.records.runs import Runs

if TYPE_CHECKING:
    import pandas as pd


def questions(runs: Runs, keys: Sequence[str]) -> dict[str, Any]:
    """Each run, and its start model, on every question of 0 or 1 of the benchmarks.

    `bits` holds each different answer sheet once, a bit per question (base64, first question in the
    highest bit); `benchmarks`: metric, `ids` (`names_of` packs them) and `runs`: key -> [sheet of
    the start model or null, sheet of the run]. A run that was asked other questions than the first
    one is left out of a benchmark.
    """
    wanted = set(keys)
    names = sorted({name for r in runs.records if r.key in wanted for name in r.metrics})
    metrics = [metric for name in names if (metric := benchmark_metric(name)) is not None]
    sheets: dict[str, int] = {}
    found = []
    for task, same in groupby(metrics, key=lambda metric: str(metric.evaluator)):
        frame = runs.items(sorted(wanted), task)
        by_run = {str(run): part for run, part in frame.groupby("run_id", sort=False)}
        parts = {key: by_run[key] for key in keys if key in by_run}
        found += [one for metric in same if (one := _benchmark(metric, parts, sheets))]
    return {"bits": list(sheets), "benchmarks": found}


def _benchmark(
    metric: Metric, parts: Mapping[str, pd.DataFrame], sheets: dict[str, int]
) -> dict[str, Any] | None:
    (after,), (before,) = metric.item_columns("after"), metric.item_columns("before")
    ids: list[str] = []
    told: dict[str, list[int | None]] = {}
    for key, part in parts.items():
        if (sheet := _sheet(part, after)) is None:
            continue
        own = [str(one) for one in part["id"]]
        ids = ids or own
        if own == ids:
            start = _sheet(part, before)
            of_start = None if start is None else sheets.setdefault(start, len(sheets))
            told[key] = [of_start, sheets.setdefault(sheet, len(sheets))]
    if not told:
        return None
    return {"metric": metric.name, "count": len(ids), "ids": packed(ids), "runs": told}


def _sheet(part: pd.DataFrame, column: str) -> str | None:
    """None: no such column, or answers that are neither 0 nor 1."""
    if column not in part.columns:
        return None
    values = part[column].to_numpy(dtype=float, na_value=np.nan)
    if not np.isin(values, (0, 1)).all():
        return None
    return base64.b64encode(np.packbits(values == 1).tobytes()).decode()


def packed(ids: Sequence[str]) -> list[list[str]]:
    """SUBJECT/12, SUBJECT/13, SUBJECT/15 as [SUBJECT/, "12-13 15"], in their order; a name of any
    other kind as [name]. The reverse is `names_of` here, and in questions.js."""

    def subject(name: str) -> str | None:
        before, slash, number = name.rpartition("/")
        plain = number.isascii() and number.isdigit() and str(int(number)) == number
        return before + slash if plain else None

    parts: list[list[str]] = []
    for prefix, names in groupby(ids, key=subject):
        if prefix is None:
            parts += [[name] for name in names]
        else:
            numbers = [int(name.removeprefix(prefix)) for name in names]
            parts.append([prefix, " ".join(_spans(numbers))])
    return parts


def _spans(numbers: Sequence[int]) -> Iterator[str]:
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        first, *_, last = [number for _, number in run] * 2
        yield f"{first}-{last}" if last > first else str(first)


def names_of(parts: Sequence[Sequence[str]]) -> list[str]:
    """What `packed` was given."""
    names: list[str] = []
    for prefix, *spans in parts:
        for span in spans[0].split() if spans else [None]:
            first, _, last = (span or "").partition("-")
            numbers = range(int(first), int(last or first) + 1) if span else [""]
            names += [f"{prefix}{number}" for number in numbers]
    return names
