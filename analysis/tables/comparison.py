"""The comparison table: scenario x method, mean and interval, start model included, ties marked.

Like is compared with like: one section per (model, data, evaluator); a row is one group of runs
(same everything but the seed). `docs/tables.md` says what each part means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tiebreak.errors import UserError, nearest
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables import notes
from tiebreak_analysis.tables.columns import Column, shown
from tiebreak_analysis.tables.facts import facts_of
from tiebreak_analysis.tables.items import per_item
from tiebreak_analysis.tables.planned import Planned, among, planned_by
from tiebreak_analysis.tables.published import Figures, references
from tiebreak_analysis.tables.sections import Asked, Chosen, sections_of
from tiebreak_analysis.tables.table import Table

SCENARIOS = ("sft-then-align", "align-from-base", "align-from-instruct")


def comparison(
    runs: Runs,
    scenarios: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    *,
    run_ids: Collection[str] | None = None,
    planned: Sequence[Planned] | None = None,
    metrics: Sequence[str | Column] | None = None,
    published: Figures | None = None,
    footnotes: Mapping[str, str] | None = None,
    level: float = 0.95,
    command: str = "tiebreak table",
) -> Table:
    """Compare the finished runs among `runs`.

    `scenarios`, `methods`: only these, in this order. `run_ids`: only the runs of a study; those
    not started are counted. `planned`: the same with their names, so that a group without any run
    is shown as missing. `metrics`: columns instead of the usual ones, each with its gain; a
    `Column` stands as given. `published`: figures to print beside ours. `footnotes`: method -> the
    convention in one line, printed for the methods shown. `level`: of intervals and tests.
    `command`: what the footer says made this table.
    UserError: a name no run has, or nothing finished to compare.
    """
    assert run_ids is None or planned is None, "planned runs carry their ids"
    if not any(record.finished for record in runs.records):
        raise UserError(_nothing(runs))
    run_ids = run_ids if planned is None else {one.run_id for one in planned}
    chosen = [r for r in runs.records if run_ids is None or r.run_id in run_ids]
    if planned is None:
        planned = () if run_ids is None else planned_by(chosen)
    planned = among(planned, scenarios, methods)
    chosen = _only(_only(chosen, "scenario", scenarios), "method", methods)
    finished = [record for record in chosen if record.finished]
    if not finished:
        told = f"none of the finished runs under {runs.root} was asked for; take back a filter"
        raise UserError(told)
    _check_metrics(finished, metrics)
    order = (scenarios or SCENARIOS, methods or ())
    asked = Asked(*order, metrics, published or {}, planned, footnotes or {}, level)
    return _table(Chosen(runs, chosen, finished, run_ids), asked, command)


def _table(chosen: Chosen, asked: Asked, command: str) -> Table:
    facts = {record.run_id: facts_of(record) for record in chosen.finished}
    items = per_item(chosen.runs, chosen.finished, shown(chosen.finished, asked.metrics))
    sections = tuple(sections_of(chosen.finished, items, facts, asked))
    figures = [f for s in sections for row in s.rows for f in row.published if f is not None]
    letters = references(figures)
    return Table(
        sections=sections,
        notes=tuple(notes.write(chosen, asked, sections, items, letters)),
        num_runs=len(chosen.finished),
        command=command,
        level=asked.level,
        facts=facts,
        references=letters,
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


def _check_metrics(finished: list[Record], metrics: Sequence[str | Column] | None) -> None:
    have = sorted({name for record in finished for name in record.metrics})
    for one in metrics or ():
        name = one.metric if isinstance(one, Column) else one
        if name not in have:
            raise UserError(
                f"no finished run has metric {name!r}{nearest(name, have)}; "
                f"they have: {', '.join(have)}"
            )
