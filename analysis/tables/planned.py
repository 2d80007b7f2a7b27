"""What a study asks for and does not have yet: rows that are short of runs, or missing whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.table import SHORT, Row


@dataclass(frozen=True)
class Planned:
    """A run that a study asks for, as its config names it; done or not."""

    run_id: str
    group_id: str
    model: str
    data: str
    scenario: str
    method: str
    material: str
    """Model and data with all their settings: `labels.material`."""


def planned_by(records: Sequence[Record]) -> tuple[Planned, ...]:
    """A study's runs as far as records tell of them, whatever became of them."""
    return tuple(
        Planned(r.run_id, r.group_id, r.model, r.data, r.scenario, r.method, material(r.settings))
        for r in records
    )


def among(
    planned: Sequence[Planned], scenarios: Sequence[str] | None, methods: Sequence[str] | None
) -> tuple[Planned, ...]:
    """Those of these scenarios and methods; None: any."""
    return tuple(
        one
        for one in planned
        if (scenarios is None or one.scenario in scenarios)
        and (methods is None or one.method in methods)
    )


def missing(
    planned: Sequence[Planned], done: Collection[str], scenarios: Mapping[str, str]
) -> dict[str, list[Planned]]:
    """Block -> one run of each group that is not among the `done` ones.

    `scenarios`: block -> the scenario of its runs. A group goes where its scenario is, or into a
    block of its own where there is none, or several.
    """
    found: dict[str, dict[str, Planned]] = defaultdict(dict)
    for one in planned:
        if one.group_id not in done:
            names = [name for name, scenario in scenarios.items() if scenario == one.scenario]
            block = names[0] if len(names) == 1 else one.scenario
            found[block].setdefault(one.group_id, one)
    return {block: list(groups.values()) for block, groups in found.items()}


def missing_rows(
    block: str, groups: Sequence[Planned], num_columns: int, taken: Sequence[str]
) -> list[Row]:
    """Rows without a number; by group id too, where another row has the method's name."""
    names = [*taken, *(one.method for one in groups)]
    rows = []
    for one in groups:
        alone = not any(name.split(" ")[0] == one.method for name in taken)
        alone = alone and names.count(one.method) == 1
        label = one.method if alone else f"{one.method} [group {one.group_id[:SHORT]}]"
        rows.append(Row(block, label, one.method, one.group_id, 0, (), (None,) * num_columns))
    return rows
