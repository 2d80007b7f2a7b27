"""What stands under a table: how to read it, and every run that is not in it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from analysis.runs import Record, Runs
from analysis.tables.table import SHORT, Cell, Section

FEW = 3  # fewer seeds than this: the t quantile alone is 12.7 (n = 2), or there is none (n = 1)


def write(
    runs: Runs,
    chosen: Sequence[Record],
    run_ids: Collection[str] | None,
    sections: Sequence[Section],
    level: float,
) -> tuple[str, ...]:
    """The notes, plain text, in the order they are printed."""
    return (
        *_reading(sections, level),
        *_few_seeds(sections),
        *_unfinished(runs, chosen, run_ids),
        *_odd_starts([record for record in chosen if record.finished]),
        *_torn_groups(sections),
    )


def _reading(sections: Sequence[Section], level: float) -> Iterator[str]:
    cells = [cell for s in sections for row in s.rows for cell in row.cells]
    yield (
        f"±: half width of the {100 * level:.12g} % interval of the mean over seeds (Student t); "
        "-: no interval, n = 1; empty: not measured"
    )
    yield (
        "n: seeds of a method, distinct models of a start model; "
        "gain: a run's value minus that of its own start model"
    )
    if any(cell is not None and cell.best for cell in cells):
        yield (
            "bold: highest mean among the methods of a scenario; intervals over seeds; see n; "
            "no difference was tested"
        )
    rows = [row for section in sections for row in section.rows]
    if any(_fewer(cell, row.n) for row in rows for cell in row.cells):
        yield "(n=...) in a cell: only so many of the row's runs have that metric"


def _fewer(cell: Cell | None, n: int) -> bool:
    return cell is not None and cell.interval.n < n


def _few_seeds(sections: Sequence[Section]) -> Iterator[str]:
    rows = [row for section in sections for row in section.rows if row.method is not None]
    few = [row for row in rows if row.n < FEW]
    if few:
        yield (
            f"too few seeds (fewer than {FEW}) in {len(few)} of {_count(len(rows), 'method row')}: "
            "they cannot tell methods apart"
        )


def _unfinished(
    runs: Runs, chosen: Sequence[Record], run_ids: Collection[str] | None
) -> Iterator[str]:
    unfinished = ("failed", "running", "stopped", "pruned")
    counts = {s: sum(r.status == s for r in chosen) for s in unfinished}
    skipped = [(p, why) for p, why in runs.skipped if run_ids is None or p.name in run_ids]
    if run_ids is not None:
        known = {r.run_id for r in runs.records} | {path.name for path, _ in runs.skipped}
        counts["not started"] = len(set(run_ids) - known)
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if told:
        yield f"{told}: not in the table"
    if skipped:
        reasons = "; ".join(f"{path.name} ({why})" for path, why in skipped)
        yield f"{_count(len(skipped), 'unreadable record')} skipped: {reasons}"


def _odd_starts(finished: Sequence[Record]) -> Iterator[str]:
    """Starts that contradict each other: one model measured twice, one seed with two models."""
    values: dict[tuple[str | None, ...], list[float]] = defaultdict(list)
    models: dict[tuple[str | int | None, ...], set[str | None]] = defaultdict(set)
    for r in finished:
        models[r.model, r.scenario, r.data_hash, r.seed].add(r.start_model)
        for name, value in r.start.items():
            values[r.start_model, r.data_hash, r.evaluator, name].append(value)
    apart = {
        (model or "")[:SHORT]
        for (model, *_), found in values.items()
        if not math.isclose(min(found), max(found), rel_tol=1e-6, abs_tol=1e-9)
    }
    if apart:
        yield (
            f"start model {', '.join(sorted(apart))}: runs measured it with different values; "
            "the first run's is shown"
        )
    several = [key for key, found in models.items() if len(found) > 1]
    if several:
        where = "; ".join(sorted(f"{key[1]}, seed {key[3]}" for key in several))
        yield (
            f"more than one start model for a seed ({where}): "
            "the methods there did not all start from the same place"
        )


def _torn_groups(sections: Sequence[Section]) -> Iterator[str]:
    found: dict[str, int] = defaultdict(int)
    for section in sections:
        for group in {row.group_id for row in section.rows if row.group_id}:
            found[group] += 1
    torn = sorted(group[:SHORT] for group, count in found.items() if count > 1)
    if torn:
        yield (
            f"group {', '.join(torn)}: its runs differ in data or evaluator, "
            "so they stand in different sections"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
