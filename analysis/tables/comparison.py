"""The comparison table: scenario x method, mean and interval, start model included, ties marked.

Like is compared with like: one section per model, data and evaluation, so numbers measured in two
ways never meet in one column, interval or test; a row is one group of runs (same everything but the
seed). `docs/tables.md` says what each part means.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tiebreak.errors import UserError, nearest
from tiebreak.metrics import THROUGHPUT, Shown, shown
from tiebreak.track.record_format import CHECKPOINT
from tiebreak_analysis.published import Figures, references
from tiebreak_analysis.questions import signal_to_noise
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.statistics import Sample
from tiebreak_analysis.tables import labels
from tiebreak_analysis.tables.averages import with_average
from tiebreak_analysis.tables.checkpoints import beside, elsewhere, measured_by, newest
from tiebreak_analysis.tables.items import per_item
from tiebreak_analysis.tables.joint import JUDGED, METRIC, with_joint
from tiebreak_analysis.tables.models import models_judged
from tiebreak_analysis.tables.notes import notes_of
from tiebreak_analysis.tables.rows import Planned, completed, scenario_rows
from tiebreak_analysis.tables.table import CHECKPOINTS, Column, Row, Section, Table
from tiebreak_analysis.tables.ties import judged

Key = tuple[str, str, str | None, str | None]
"""What a section is about: names of model and data, hash of the data, how it was measured."""


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
    wanted = None if planned is None else {run.run_id for run in planned}
    chosen = [record for record in runs.records if wanted is None or record.run_id in wanted]
    finished = _finished(runs, chosen)
    if set(metrics or ()) & {metric.name for metric in THROUGHPUT}:
        finished = [replace(r, metrics={**r.metrics, **r.throughput}) for r in finished]
    _check_metrics(finished, metrics or ())
    alike = sections_alike(finished)
    placed = _placed(planned or (), alike)
    sections = tuple(
        _section(runs, key, records, placed[key], metrics, published or {})
        for key, records in alike.items()
    )
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


def _finished(runs: Runs, chosen: Sequence[Record]) -> list[Record]:
    if not any(record.finished for record in runs.records):
        counts = Counter(record.status for record in runs.records)
        counts["unreadable"] = len(runs.skipped)
        known = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)
        hint = f" ({known}: see tiebreak runs)" if known else ""
        raise UserError(f"no finished runs under {runs.root}{hint}; start one with: tiebreak run")
    finished = [record for record in chosen if record.finished]
    if not finished:
        raise UserError(f"none of the runs asked for is finished under {runs.root}")
    return finished


def _check_metrics(finished: Sequence[Record], metrics: Sequence[str]) -> None:
    have = {name for record in finished for name in record.metrics}
    have |= {METRIC} if JUDGED in have else set()
    for name in metrics:
        if name not in have:
            known = sorted(have.union(*(record.throughput for record in finished)))
            raise UserError(
                f"no finished run has metric {name!r}{nearest(name, known)}; "
                f"they have: {', '.join(known)}"
            )


def _section(
    runs: Runs,
    key: Key,
    members: Sequence[Record],
    planned: Sequence[Planned],
    metrics: Sequence[str] | None,
    figures: Figures,
) -> Section:
    outdated = _outdated(members)
    records, frames = with_joint(runs, [_without(record, outdated) for record in members])
    columns = _columns(records, metrics)
    items, odd_items = per_item(runs, records, {column.metric for column in columns}, frames)
    old = _stale(records)
    measured = list(scenario_rows(records, planned, columns, items))
    measured, columns, averaged = with_average(measured, columns)
    blocks = [
        (completed(rows, scenario, columns, planned, old, figures), one_start)
        for scenario, rows, one_start in measured
    ]
    judged_rows, verdicts, num_tests = judged(blocks, columns)
    shared_starts = [one_start for _, one_start in blocks]
    judged_rows, models = models_judged(list(zip(judged_rows, shared_starts, strict=True)), columns)
    return Section(
        *key,
        columns=columns,
        rows=tuple(row for rows in judged_rows for row in rows),
        validation=records[0].settings.get("evaluation.split") == "validation",
        verdicts=tuple(verdicts),
        num_tests=num_tests,
        stale=old,
        odd_items=odd_items,
        outdated=outdated,
        averaged=averaged,
        models=models,
        signal=tuple(signal_to_noise(_samples(judged_rows, at)) for at in range(len(columns))),
    )


def _samples(blocks: Sequence[Sequence[Row]], place: int) -> list[list[Sample]]:
    """By scenario, what its methods have item by item in one column."""
    return [
        [cell.sample for row in rows
         if row.method and (cell := row.cells[place]) is not None and cell.num_items]
        for rows in blocks
    ]  # fmt: skip


def _columns(records: Sequence[Record], metrics: Sequence[str] | None) -> tuple[Column, ...]:
    """The columns for these runs; those that none of them has are left out.

    `metrics` None: the usual ones, with the gain of the first that the start model has too.
    Otherwise those metrics in that order, each with its gain where the start model has it.
    """
    have = {name for record in records for name in record.metrics}
    before = {name for record in records for name in record.start}
    usual = shown(have, Shown.TABLES) or sorted(have)
    columns: list[Column] = []
    for name in [n for n in (usual if metrics is None else metrics) if n in have]:
        columns.append(Column.of(name))
        if name in before and not (metrics is None and any(column.gain for column in columns)):
            columns.append(Column.of(name, gain=True))
    return tuple(columns)


def _outdated(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """Evaluator -> runs measured with another key of it than the newest run of the section."""
    outdated = {
        evaluator: tuple(r.run_id for r in records if r.evaluators.get(evaluator, key) != key)
        for evaluator, key in sorted(newest(records).items())
    }
    return {evaluator: run_ids for evaluator, run_ids in outdated.items() if run_ids}


def _without(record: Record, outdated: Mapping[str, Sequence[str]]) -> Record:
    """The record without what outdated evaluators measured, so that no column mixes two keys."""
    old = {evaluator for evaluator, run_ids in outdated.items() if record.run_id in run_ids}
    return measured_by(record, {k: v for k, v in record.evaluators.items() if k not in old})


def _stale(records: Sequence[Record]) -> dict[str, str]:
    """Run id -> in what it differs from most runs of its section: commit, versions."""
    made_by: dict[str, dict[str, str | None]] = {}
    for record in records:
        commit = record.manifest.get("git", {}).get("commit")
        versions = record.manifest.get("versions", {})
        made_by[record.run_id] = ({"commit": commit} if commit else {}) | versions
    usual = {  # equally often: that of the first row
        name: Counter(made.get(name) for made in made_by.values()).most_common(1)[0][0]
        for name in sorted(set().union(*made_by.values()))
    }
    differences = {
        run_id: ", ".join(
            f"{name} {_short(made.get(name))} (most: {_short(most)})"
            for name, most in usual.items()
            if made.get(name) != most
        )
        for run_id, made in made_by.items()
    }
    return {run_id: text for run_id, text in differences.items() if text}


def _short(value: str | None) -> str:
    if value is None:
        return "not recorded"
    return value[:8] if len(value) == 40 else value


def sections_alike(finished: Sequence[Record]) -> dict[Key, list[Record]]:
    """What may stand in one section, with how model and data are called there.

    The same data under two settings (two paths, say) are one section. A checkpoint that was not
    trained here stands in each section whose evaluators measured it too; what is left of it, in
    one without a model.
    """
    trained = [record for record in finished if record.trained]
    given = [record for record in finished if not record.trained]
    alike = {
        key: members + beside(members, key[-1], given)
        for key, members in _by_material(trained).items()
    }
    left = elsewhere(given, [record for members in alike.values() for record in members])
    own: dict[Key, list[Record]] = defaultdict(list)
    for (_, data, data_hash, evaluation), members in _by_material(left).items():
        own[CHECKPOINTS, data, data_hash, evaluation] += members
    return alike | own


def _by_material(records: Sequence[Record]) -> dict[Key, list[Record]]:
    """Records by model, data and evaluation, in the order of a table."""
    models = labels.told_apart(records, lambda r: r.model, lambda top: top == "model")
    data = labels.told_apart(records, lambda r: r.data, lambda top: top == "data", by=_data)
    alike: dict[Key, list[Record]] = defaultdict(list)
    for r in records:
        alike[models[r.group_id], data[_data(r)], r.data_hash, r.evaluation].append(r)
    order = sorted(alike, key=lambda key: [labels.natural(part or "") for part in key])
    return {key: alike[key] for key in order}


def _data(record: Record) -> str:
    return f"{record.data} {record.data_hash}"


def _placed(
    planned: Sequence[Planned], alike: Mapping[Key, Sequence[Record]]
) -> dict[Key, list[Planned]]:
    """Each section's planned runs: where their group has runs, else where model and data are those
    they ask for; a checkpoint's, where it would be measured in the same way."""
    where: dict[str, list[Key]] = defaultdict(list)
    using: dict[str, Key] = {}
    for key, records in alike.items():
        for group in {record.group_id for record in records}:
            where[group].append(key)
        for record in records:
            using.setdefault(labels.material(record.settings), key)
    placed: dict[Key, list[Planned]] = {key: [] for key in alike}
    for run in planned:
        near = [using[run.material]] if run.material in using else []
        if run.scenario == CHECKPOINT:
            near = [key for key in alike if key[-1] == run.evaluation]
        for key in where.get(run.group_id, near):
            placed[key].append(run)
    return placed
