"""What the page is about: the runs it shows, and how each group of them is called and coloured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.sections import sections_alike
from tiebreak_analysis.tables.table import SHORT, Table, full_title


@dataclass(frozen=True)
class Group:
    """Runs that are the same but for the seed."""

    group_id: str
    label: str
    """The method, with the settings that tell it from others of that name."""
    method: str
    scenario: str
    section: str
    """Model and data. Groups of different sections never share a chart."""
    records: tuple[Record, ...]

    @property
    def name(self) -> str:
        return f"{self.scenario} · {self.label}"


def groups_of(records: Sequence[Record], tables: Sequence[Table]) -> tuple[Group, ...]:
    """One `Group` per group id, in the order of the tables; those in no table come last.

    Labels are those of the tables, so that a row there and a curve here have the same name.
    """
    told: dict[str, tuple[str, str]] = {}
    for table in tables:  # the first table that has a group names it
        for row in (row for section in table.sections for row in section.rows):
            if row.group_id is not None:
                told.setdefault(row.group_id, (row.label, row.scenario))
    order = {group: at for at, group in enumerate(told)}
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[record.group_id].append(record)
    sections = _sections(records)
    taken: set[tuple[str, str, str]] = set()
    found = []
    for group_id in sorted(members, key=lambda group: (order.get(group, len(order)), group)):
        first = members[group_id][0]
        label, scenario = told.get(group_id, (first.method, first.scenario))
        section = sections[group_id]
        if (section, scenario, label) in taken:
            label = f"{label} [group {group_id[:SHORT]}]"
        taken.add((section, scenario, label))
        runs = tuple(sorted(members[group_id], key=lambda r: (r.seed, r.run_id)))
        found.append(Group(group_id, label, first.method, scenario, section, runs))
    return tuple(found)


def _sections(records: Sequence[Record]) -> dict[str, str]:
    """Group id -> its section: model and data, with the settings in which they differ on this page,
    and with hashes where these are not enough.

    A run that has not come to its evaluation yet stands with the others that use its model and
    data, if those are in one section.
    """
    alike = sections_alike([record for record in records if record.finished])
    names = Counter((model, data) for model, data, _, _ in alike)
    sections: dict[str, str] = {}
    using: dict[str, set[str]] = defaultdict(set)
    for key, members in alike.items():
        model, data = key[:2]
        title = f"model {model} · data {data}" if names[model, data] == 1 else full_title(*key)
        sections |= {record.group_id: title for record in members}
        for record in members:
            using[material(record.settings)].add(title)
    for record in records:
        beside = using[material(record.settings)]
        plain = f"model {record.model} · data {record.data}"
        sections.setdefault(record.group_id, next(iter(beside)) if len(beside) == 1 else plain)
    return sections
