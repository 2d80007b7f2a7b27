"""The comparison table: scenario x method, mean and interval over seeds, start model included.

Like is compared with like: one section per (model, data, evaluator); a row is one group of runs
(same everything but the seed). Bold marks the highest mean and claims nothing: no test is made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from analysis.runs import Record, Runs
from analysis.tables import labels, notes
from analysis.tables.rows import rows_of
from analysis.tables.table import Section, Table, columns_of
from tiebreak.errors import UserError, nearest

SCENARIOS = ("sft-then-align", "align-from-base", "align-from-instruct")


def comparison(
    runs: Runs,
    scenarios: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    *,
    run_ids: Collection[str] | None = None,
    metrics: Sequence[str] | None = None,
    level: float = 0.95,
    command: str = "tiebreak table",
) -> Table:
    """Compare the finished runs among `runs`.

    `scenarios`, `methods`: only these, in this order. `run_ids`: only the runs of a study; those
    not started are counted. `metrics`: columns instead of the usual ones, each with its gain.
    `level`: of the intervals. `command`: what the footer says made this table.
    UserError: a name no run has, or nothing finished to compare.
    """
    if not any(record.finished for record in runs.records):
        raise UserError(_nothing(runs))
    chosen = [r for r in runs.records if run_ids is None or r.run_id in run_ids]
    chosen = _only(chosen, "scenario", scenarios)
    chosen = _only(chosen, "method", methods)
    finished = [record for record in chosen if record.finished]
    if not finished:
        raise UserError(
            f"none of the finished runs under {runs.root} was asked for; take back a filter"
        )
    _check_metrics(finished, metrics)
    sections = _sections(finished, scenarios or SCENARIOS, methods or (), metrics, level)
    return Table(
        sections=sections,
        notes=notes.write(runs, chosen, run_ids, sections, level),
        num_runs=len(finished),
        command=command,
    )


def _only(records: list[Record], field: str, names: Sequence[str] | None) -> list[Record]:
    if names is None:
        return records
    have = sorted({getattr(record, field) for record in records})
    for name in names:
        if name not in have:
            known = f"; they have: {', '.join(have)}" if have else ""
            raise UserError(f"no run has {field} {name!r}{nearest(name, have)}{known}")
    return [record for record in records if getattr(record, field) in names]


def _nothing(runs: Runs) -> str:
    """Why there is no table, and how to come by one."""
    counts = Counter(record.status for record in runs.records)
    counts["unreadable"] = len(runs.skipped)
    found = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)
    there = f" ({found}: see tiebreak runs)" if found else ""
    return f"no finished runs under {runs.root}{there}; start one with: tiebreak run"


def _check_metrics(finished: list[Record], metrics: Sequence[str] | None) -> None:
    have = sorted({name for record in finished for name in record.metrics})
    for name in metrics or ():
        if name not in have:
            raise UserError(
                f"no finished run has metric {name!r}{nearest(name, have)}; "
                f"they have: {', '.join(have)}"
            )


def _sections(
    finished: list[Record],
    scenarios: Sequence[str],
    methods: Sequence[str],
    metrics: Sequence[str] | None,
    level: float,
) -> tuple[Section, ...]:
    shared = labels.shared_settings(finished)
    models = labels.tell_apart(
        {record.group_id: record.model for record in finished},
        {group: labels.part(settings, "model") for group, settings in shared.items()},
    )
    alike: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for r in finished:
        alike[models[r.group_id], r.data, r.data_hash or "", r.evaluator or ""].append(r)
    sections = []
    for (model, data, _, _), records in sorted(alike.items()):
        columns = columns_of(records, metrics)
        rows = tuple(rows_of(records, columns, scenarios, methods, level))
        first = records[0]
        validation = first.settings.get("evaluation.split") == "validation"
        sections.append(
            Section(model, data, first.data_hash, first.evaluator, columns, rows, validation)
        )
    return tuple(sections)
