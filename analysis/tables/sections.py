"""Like is compared with like: one section per model, data and evaluation; a verdict per scenario.

Numbers that were measured in two ways (two judges, say) never meet in one column, one interval or
one test.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tiebreak.metrics import EVALUATION, Shown, evaluation_metric, shown
from tiebreak_analysis.published import Figures
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables import labels
from tiebreak_analysis.tables.items import per_item
from tiebreak_analysis.tables.rows import Planned, counted, scenario_rows, with_published
from tiebreak_analysis.tables.table import Column, Section
from tiebreak_analysis.tables.ties import judged

Key = tuple[str, str, str | None, str | None]
"""What a section is about: names of model and data, hash of the data, how it was measured."""
EVALUATORS = {metric.evaluator for metric in EVALUATION}


def sections_of(
    runs: Runs,
    finished: Sequence[Record],
    planned: Sequence[Planned],
    metrics: Sequence[str] | None,
    figures: Figures,
) -> Iterator[Section]:
    """The sections of a table, in the order of model, data and evaluation."""
    alike = sections_alike(finished)
    placed = _placed(planned, alike)
    for key, records in alike.items():
        yield _section(runs, key, records, placed[key], metrics, figures)


def _section(
    runs: Runs,
    key: Key,
    members: Sequence[Record],
    planned: Sequence[Planned],
    metrics: Sequence[str] | None,
    figures: Figures,
) -> Section:
    outdated = _outdated(members)
    records = [_without(record, outdated) for record in members]
    columns = columns_of(records, metrics)
    items, odd_items = per_item(runs, records, {column.metric for column in columns})
    old = stale(records)
    blocks = []
    for scenario, rows, one_start in scenario_rows(records, planned, columns, items):
        rows = counted(rows, planned, old)
        blocks.append((with_published(list(rows), scenario, columns, figures), one_start))
    judged_rows, verdicts, num_tests = judged(blocks, columns)
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
    )


def columns_of(records: Sequence[Record], metrics: Sequence[str] | None) -> tuple[Column, ...]:
    """The columns for these runs; those that none of them has are left out.

    `metrics` None: the usual ones, with the gain of the first that the start model has too.
    Otherwise those metrics in that order, each with its gain where the start model has it.
    """
    have = {name for record in records for name in record.metrics}
    before = {name for record in records for name in record.start}
    usual = [name for name in shown(Shown.TABLES) if name in have] or sorted(have)
    columns: list[Column] = []
    gains = 0
    for name in usual if metrics is None else metrics:
        if name not in have:
            continue
        columns.append(Column.of(name))
        if name in before and (metrics is not None or not gains):
            columns.append(Column.of(name, gain=True))
            gains += 1
    return tuple(columns)


def _outdated(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """Evaluator -> runs measured with another key of it than the newest run of the section."""
    by_evaluator: dict[str, list[tuple[str, Record]]] = defaultdict(list)
    for record in records:
        for evaluator, key in record.evaluators.items():
            by_evaluator[evaluator].append((key, record))
    outdated = {}
    for evaluator, keyed in sorted(by_evaluator.items()):
        newest = max(keyed, key=lambda pair: (_measured_at(pair[1]), pair[1].run_id))[0]
        outdated[evaluator] = tuple(record.run_id for key, record in keyed if key != newest)
    return {evaluator: run_ids for evaluator, run_ids in outdated.items() if run_ids}


def _measured_at(record: Record) -> str:
    return str(record.manifest.get("times", {}).get("finished") or "")


def _without(record: Record, outdated: Mapping[str, Sequence[str]]) -> Record:
    """The record without what outdated evaluators measured, so that no column mixes two keys.

    A metric that is in no table may come from any evaluator of which no metric is known.
    """
    old = {evaluator for evaluator, run_ids in outdated.items() if record.run_id in run_ids}
    if not old:
        return record

    def counts(name: str) -> bool:
        evaluator = evaluation_metric(name).evaluator
        return evaluator not in old if evaluator else old <= EVALUATORS

    metrics, start = (
        {name: value for name, value in values.items() if counts(name)}
        for values in (record.metrics, record.start)
    )
    return replace(record, metrics=metrics, start=start)


def stale(records: Sequence[Record]) -> dict[str, str]:
    """Run id -> in what it differs from most runs of its section: commit, versions."""
    made_by: dict[str, dict[str, str | None]] = {}
    for record in records:
        commit = record.manifest.get("git", {}).get("commit")
        versions = record.manifest.get("versions", {})
        made_by[record.run_id] = ({"commit": commit} if commit else {}) | versions
    usual: dict[str, str | None] = {}
    for name in sorted({name for made in made_by.values() for name in made}):
        counts = Counter(made.get(name) for made in made_by.values())
        usual[name] = counts.most_common(1)[0][0]  # equally often: that of the first row
    differences: dict[str, list[str]] = defaultdict(list)
    for run_id, made in made_by.items():
        for name, most in usual.items():
            if made.get(name) != most:
                text = f"{name} {_short(made.get(name))} (most: {_short(most)})"
                differences[run_id].append(text)
    return {run_id: ", ".join(texts) for run_id, texts in differences.items()}


def _short(value: str | None) -> str:
    if value is None:
        return "not recorded"
    return value[:8] if len(value) == 40 else value


def sections_alike(finished: Sequence[Record]) -> dict[Key, list[Record]]:
    """What may stand in one section, with how model and data are called there.

    The same data under two settings (two paths, say) are one section.
    """
    shared = labels.shared_settings(finished)
    models = labels.tell_apart(
        {record.group_id: record.model for record in finished},
        {group: labels.part(settings, "model") for group, settings in shared.items()},
    )
    shared = labels.shared_settings(finished, _data)
    data = labels.tell_apart(
        {_data(record): record.data for record in finished},
        {name: labels.part(settings, "data") for name, settings in shared.items()},
    )
    alike: dict[Key, list[Record]] = defaultdict(list)
    for r in finished:
        alike[models[r.group_id], data[_data(r)], r.data_hash, r.evaluation].append(r)
    order = sorted(alike, key=lambda key: [labels.natural(part or "") for part in key])
    return {key: alike[key] for key in order}


def _data(record: Record) -> str:
    return f"{record.data} {record.data_hash}"


def _placed(
    planned: Sequence[Planned], alike: Mapping[Key, Sequence[Record]]
) -> dict[Key, list[Planned]]:
    """Each section's planned runs: where their group has runs, else where model and data are those
    they ask for."""
    where: dict[str, list[Key]] = defaultdict(list)
    using: dict[str, Key] = {}
    for key, records in alike.items():
        for group in {record.group_id for record in records}:
            where[group].append(key)
        for record in records:
            using.setdefault(labels.material(record.settings), key)
    placed: dict[Key, list[Planned]] = {key: [] for key in alike}
    for run in planned:
        beside = using.get(run.material)
        for key in where.get(run.group_id, [beside] if beside else []):
            placed[key].append(run)
    return placed


def unplaced(planned: Sequence[Planned], finished: Sequence[Record]) -> list[Planned]:
    """Runs that are planned for a model or data of which no run is finished: in no section."""
    done = {record.group_id for record in finished}
    using = {labels.material(record.settings) for record in finished}
    return [run for run in planned if run.group_id not in done and run.material not in using]
