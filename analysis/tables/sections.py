"""Like is compared with like: one section per model, data and evaluator; a verdict per scenario.

Numbers of two evaluators (or two judges: which judge is part of the evaluator's hash) never meet in
one column, one interval or one test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables import labels
from tiebreak_analysis.tables.columns import Column, columns_of
from tiebreak_analysis.tables.facts import Facts, stale
from tiebreak_analysis.tables.items import PerItem
from tiebreak_analysis.tables.planned import Planned
from tiebreak_analysis.tables.published import Figures
from tiebreak_analysis.tables.rows import Material, blocks_of
from tiebreak_analysis.tables.table import Section
from tiebreak_analysis.tables.ties import judged
from tiebreak_analysis.tables.verdict import verdict


@dataclass(frozen=True)
class Asked:
    """What the caller of a table wants shown, beside the runs."""

    scenarios: Sequence[str]
    methods: Sequence[str]
    metrics: Sequence[str | Column] | None
    figures: Figures
    planned: tuple[Planned, ...]
    footnotes: Mapping[str, str]
    level: float


@dataclass(frozen=True)
class Chosen:
    """The runs a table is about."""

    runs: Runs
    records: Sequence[Record]
    """Those asked for, whatever became of them."""
    finished: Sequence[Record]
    run_ids: Collection[str] | None
    """Those of a study; None: every run there is."""


def sections_of(
    finished: Sequence[Record], items: PerItem, facts: Mapping[str, Facts], asked: Asked
) -> Iterator[Section]:
    """In the order of model, data and evaluator."""
    alike = sections_alike(finished)
    planned = _placed(asked.planned, alike)
    for (model, data, _, _), records in alike.items():
        first = records[0]
        assert {r.evaluation for r in records} == {first.evaluation}, "one evaluator per section"
        columns = columns_of(records, asked.metrics)
        old = stale([facts[r.run_id] for r in records])
        key = (model, data, first.data_hash, first.evaluation)
        material = Material(columns, items, planned[key], old, asked.figures, asked.level)
        blocks = list(blocks_of(records, asked.scenarios, asked.methods, material))
        found = judged(blocks, columns, asked.level)
        verdicts = [verdict(rows, columns, found.too_many) for rows in found.blocks]
        yield Section(
            model=model,
            data=data,
            data_hash=first.data_hash,
            evaluator=first.evaluation,
            columns=columns,
            rows=tuple(row for rows in found.blocks for row in rows),
            validation=first.settings.get("evaluation.split") == "validation",
            verdicts=tuple(one for one in verdicts if one is not None),
            num_tests=found.num_tests,
            stale=old,
        )


Key = tuple[str, str, str | None, str | None]


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
) -> dict[Key, tuple[Planned, ...]]:
    """Each section's planned runs: where their group has runs, else where model and data are those
    they ask for."""
    where: dict[str, list[Key]] = defaultdict(list)
    using: dict[str, Key] = {}
    for key, records in alike.items():
        for group in {record.group_id for record in records}:
            where[group].append(key)
        for record in records:
            using.setdefault(labels.material(record.settings), key)
    found: dict[Key, list[Planned]] = {key: [] for key in alike}
    for one in planned:
        beside = using.get(one.material)
        for key in where.get(one.group_id, [beside] if beside else []):
            found[key].append(one)
    return {key: tuple(several) for key, several in found.items()}


def unplaced(planned: Sequence[Planned], finished: Sequence[Record]) -> list[Planned]:
    """Runs that are planned for a model or data of which no run is finished: in no section."""
    done = {record.group_id for record in finished}
    using = {labels.material(record.settings) for record in finished}
    return [one for one in planned if one.group_id not in done and one.material not in using]
