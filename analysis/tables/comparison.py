"""The comparison table: scenario x method, mean and interval, start model included, ties marked.

Like is compared with like: one section per (model, data, evaluation); a row is one group of runs
(same everything but the seed). `docs/tables.md` says what each part means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tiebreak.errors import UserError, nearest
from tiebreak.metrics import THROUGHPUT
from tiebreak_analysis.published import Figures, references
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables.notes import notes_of
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.sections import sections_of
from tiebreak_analysis.tables.table import Table

TIMES = tuple(metric.name for metric in THROUGHPUT)


def comparison(
    runs: Runs,
    *,
    planned: Sequence[Planned] | None = None,
    metrics: Sequence[str] | None = None,
    published: Figures | None = None,
    footnotes: Mapping[str, str] | None = None,
    command: str = "tiebreak table",
) -> Table:
    """Compare the finished runs among `runs`.

    `planned`: only the runs of a study; those not started are counted, and a group without any run
    is shown as missing. `metrics`: columns instead of the usual ones, each with its gain; those of
    throughput too. `published`: figures to print beside ours. `footnotes`: method -> the convention
    in one line, printed for the methods shown. `command`: what the footer says made this table.
    UserError: a metric no run has, or nothing finished to compare.
    """
    if not any(record.finished for record in runs.records):
        raise UserError(_nothing(runs))
    wanted = None if planned is None else {run.run_id for run in planned}
    chosen = [record for record in runs.records if wanted is None or record.run_id in wanted]
    finished = [record for record in chosen if record.finished]
    if not finished:
        raise UserError(f"none of the runs asked for is finished under {runs.root}")
    finished = _with_times(finished, metrics or ())
    _check_metrics(finished, metrics or ())
    sections = tuple(sections_of(runs, finished, planned or (), metrics, published or {}))
    figures = [f for s in sections for row in s.rows for f in row.published if f is not None]
    letters = references(figures)
    return Table(
        sections=sections,
        notes=tuple(notes_of(runs, chosen, finished, planned, sections, footnotes or {}, letters)),
        num_runs=len({record.run_id for record in finished}),
        command=command,
        records=tuple(finished),
        references=letters,
    )


def _with_times(finished: list[Record], metrics: Sequence[str]) -> list[Record]:
    """The records with their throughput among the metrics, if any of it is asked for."""
    if not set(metrics) & set(TIMES):
        return finished
    return [replace(r, metrics={**r.metrics, **r.throughput}) for r in finished]


def _nothing(runs: Runs) -> str:
    """Why there is no table, and how to come by one."""
    counts = Counter(record.status for record in runs.records)
    counts["unreadable"] = len(runs.skipped)
    known = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)
    hint = f" ({known}: see tiebreak runs)" if known else ""
    return f"no finished runs under {runs.root}{hint}; start one with: tiebreak run"


def _check_metrics(finished: Sequence[Record], metrics: Sequence[str]) -> None:
    have = {name for record in finished for name in record.metrics}
    for name in metrics:
        if name not in have:
            known = sorted(have.union(*(record.throughput for record in finished)))
            raise UserError(
                f"no finished run has metric {name!r}{nearest(name, known)}; "
                f"they have: {', '.join(known)}"
            )
