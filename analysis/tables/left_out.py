"""Every run that is not in a table, or not like the others in it: named, with the reason."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.items import PerItem
from tiebreak_analysis.tables.planned import Planned
from tiebreak_analysis.tables.sections import Chosen, unplaced
from tiebreak_analysis.tables.table import SHORT, Section

MANY = 6  # run ids beyond this are counted; the sidecar has them all
UNFINISHED = ("failed", "running", "stopped", "pruned")


def left_out(
    chosen: Chosen, planned: Sequence[Planned], sections: Sequence[Section], items: PerItem
) -> Iterator[str]:
    """The notes about runs, in the order they are printed."""
    yield from _unfinished(chosen)
    yield from _unplaced(planned, chosen.finished)
    yield from _without_items(items.odd)
    yield from _stale(sections)
    yield from _odd_starts(chosen.finished)
    yield from _torn_groups(sections)


def _unfinished(chosen: Chosen) -> Iterator[str]:
    runs, run_ids = chosen.runs, chosen.run_ids
    counts = {s: sum(r.status == s for r in chosen.records) for s in UNFINISHED}
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


def _unplaced(planned: Sequence[Planned], finished: Sequence[Record]) -> Iterator[str]:
    lost = unplaced(planned, finished)
    where = sorted({f"{one.method} in {one.scenario} ({one.model}, {one.data})" for one in lost})
    if where:
        yield f"missing whole, nothing finished to put it beside: {_some(where)}"


def _without_items(odd: Mapping[str, str]) -> Iterator[str]:
    """Runs by reason: what is wrong with one run's file is often wrong with many."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for run_id, why in sorted(odd.items()):
        by_reason[why].append(run_id)
    if by_reason:
        told = "; ".join(f"{_some(ids)} ({why})" for why, ids in sorted(by_reason.items()))
        yield f"not used item by item, so their rows are judged over seeds alone: {told}"


def _stale(sections: Sequence[Section]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for section in sections:
        for run_id, why in section.stale.items():
            by_reason[why].append(run_id)
    for why, ids in sorted(by_reason.items()):
        yield f"stale, made by other code than most runs of the section: {_some(ids)}: {why}"


def _odd_starts(finished: Sequence[Record]) -> Iterator[str]:
    """Starts that contradict each other: one model measured twice, one seed with two models."""
    values: dict[tuple[str | None, ...], list[float]] = defaultdict(list)
    models: dict[tuple[str | int | None, ...], set[str | None]] = defaultdict(set)
    for r in finished:
        models[r.model, r.scenario, r.data_hash, r.seed].add(r.start_model)
        for name, value in r.start.items():
            values[r.start_model, r.data_hash, r.evaluation, name].append(value)
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


def _some(names: Sequence[str]) -> str:
    told = ", ".join(names[:MANY])
    return f"{told} and {len(names) - MANY} more" if len(names) > MANY else told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
