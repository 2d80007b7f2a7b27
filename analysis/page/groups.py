"""What the page is about: the runs it shows, and how each group of them is called and drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tiebreak_analysis.figures.palette import LINES, MARKERS, START, Look, looks
from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.sections import sections_alike
from tiebreak_analysis.tables.table import SHORT, Table, section_title

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = (
    "circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x",
    "triangle-left", "triangle-right", "pentagon", "hexagon",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Runs that are the same but for the seed, and measured in the same way."""

    group_id: str
    """The group id of its runs; with their evaluation where the group has several."""
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

    @property
    def evaluation(self) -> str | None:
        """How its finished runs were measured."""
        return _evaluation(self.records)

    @property
    def row(self) -> tuple[str, str | None]:
        """Group id and evaluation, as the rows of a table have them."""
        return self.records[0].group_id, self.evaluation


def groups_of(records: Sequence[Record], tables: Sequence[Table]) -> tuple[Group, ...]:
    """One `Group` per group id and evaluation, in the order of the tables; others come last.

    Labels are those of the tables, so that a row there and a curve here have the same name.
    """
    named: dict[str, tuple[str, str]] = {}
    for table in tables:  # the first table that has a group names it
        for row in (row for section in table.sections for row in section.rows):
            if row.group_id is not None:
                named.setdefault(row.group_id, (row.label, row.scenario))
    order = {group: at for at, group in enumerate(named)}
    sections = _sections(records)
    taken: set[tuple[str, str, str]] = set()
    groups = []
    for runs in sorted(_members(records), key=lambda runs: _place(order, runs[0].group_id)):
        group_id = runs[0].group_id
        label, scenario = named.get(group_id, (runs[0].method, runs[0].scenario))
        section = sections[group_id, _evaluation(runs)]
        if (section, scenario, label) in taken:
            label = f"{label} [group {group_id[:SHORT]}]"
        taken.add((section, scenario, label))
        groups.append(Group(group_id, label, runs[0].method, scenario, section, runs))
    several = Counter(group.group_id for group in groups)
    return tuple(
        group
        if several[group.group_id] == 1
        else replace(group, group_id=f"{group.group_id}-{(group.evaluation or '')[:SHORT]}")
        for group in groups
    )


def _place(order: Mapping[str, int], group_id: str) -> tuple[int, str]:
    return order.get(group_id, len(order)), group_id


def _members(records: Sequence[Record]) -> Iterator[tuple[Record, ...]]:
    """The runs of each group and evaluation, by seed; unfinished ones are with the first."""
    by_group: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_group[record.group_id].append(record)
    for runs in by_group.values():
        ways = sorted({r.evaluation or "" for r in runs if r.finished}) or [""]
        for way in ways:
            same = [r for r in runs if (r.evaluation or "") == way if r.finished]
            same += [r for r in runs if not r.finished and way == ways[0]]
            yield tuple(sorted(same, key=lambda r: (r.seed, r.run_id)))


def _evaluation(records: Sequence[Record]) -> str | None:
    return next((record.evaluation for record in records if record.finished), None)


def _sections(records: Sequence[Record]) -> dict[tuple[str, str | None], str]:
    """(group id, evaluation) -> its section: model and data, with the settings in which they differ
    on this page, and with hashes where these are not enough.

    A run that has not come to its evaluation yet stands with the others that use its model and
    data, if those are in one section.
    """
    alike = sections_alike([record for record in records if record.finished])
    names = Counter((model, data) for model, data, _, _ in alike)
    sections: dict[tuple[str, str | None], str] = {}
    using: dict[str, set[str]] = defaultdict(set)
    for key, members in alike.items():
        model, data = key[:2]
        title = f"model {model} · data {data}" if names[model, data] == 1 else section_title(*key)
        for record in members:
            sections[record.group_id, record.evaluation] = title
            using[material(record.settings)].add(title)
    for record in records:
        beside = using[material(record.settings)]
        plain = f"model {record.model} · data {record.data}"
        title = next(iter(beside)) if len(beside) == 1 else plain
        sections.setdefault((record.group_id, None), title)
    return sections


def looks_of(groups: Sequence[Group]) -> dict[str, Look]:
    """Row label -> its look, as in the figures for papers; "start model" has one too."""
    return looks({START: START} | {group.label: group.method for group in groups})


def plotly(look: Look) -> dict[str, str]:
    """Colour, dash and symbol in the words of plotly.js."""
    symbol = SYMBOLS[MARKERS.index(look.marker)]
    return {
        "colour": look.colour,
        "dash": DASHES[LINES.index(look.line)],
        "symbol": symbol if look.filled else f"{symbol}-open",
    }
