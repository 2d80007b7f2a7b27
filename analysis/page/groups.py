"""The runs a page shows: how each group is called and drawn, and where its numbers come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tiebreak_analysis.figures.palette import LINES, MARKERS, START, Look, looks
from tiebreak_analysis.page.markup import Child, Markup, join, scroll, table, tag
from tiebreak_analysis.records.runs import Record, Runs, setting_text, varying
from tiebreak_analysis.tables.comparison import sections_alike
from tiebreak_analysis.tables.labels import material, shared_settings
from tiebreak_analysis.tables.table import SHORT, Table, section_title

ABSENT = "·"
HEADS = ("run", "group", "scenario", "method", "seed", "status", "commit", "data", "evaluator",
         "start model", "model")  # fmt: skip
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
    for row in (row for t in tables for section in t.sections for row in section.rows):
        if row.group_id is not None:  # the first table that has a group names it
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


def provenance(groups: Sequence[Group], runs: Runs | None = None) -> Markup:
    """What all runs share is said once; then a row per run, and each record of `runs` that is left
    out, by name."""
    manifests = {r.run_id: r.manifest for group in groups for r in group.records}
    body, seen = [], set()
    for group in groups:
        for record in group.records:
            row = _row(group, record, manifests[record.run_id])
            if group.group_id not in seen:  # where the links of the leaderboard lead
                row[1] = tag("span", row[1], id=group.group_id)
            seen.add(group.group_id)
            body.append(row)
    parts = [_shared(manifests), table(HEADS, body, "provenance")]
    left_out = {} if runs is None else {
        "Records that could not be used and are in no number here": [
            f"{path.name}: {why}" for path, why in runs.skipped
        ],
        "Damaged files, whose rows are in no chart here": sorted(
            f"{run}: {file}: {why}" for (run, file), why in runs.damaged.items()
        ),
    }  # fmt: skip
    for lead, lines in left_out.items():
        if lines:
            items = [tag("li", line) for line in lines]
            parts += [tag("p", f"{lead} ({len(lines)}):"), tag("ul", *items)]
    return join(parts)


def _row(group: Group, record: Record, manifest: Mapping[str, Any]) -> list[Child]:
    git, hashes = manifest.get("git", {}), manifest.get("hashes", {})
    commit = _hash(git.get("commit")), " + changes" if git.get("dirty") else ""
    return [
        tag("code", record.run_id),
        tag("code", record.group_id),
        group.scenario,
        group.label,
        str(record.seed),
        _status(record),
        join(commit),
        _hash(record.data_hash),
        _hash(record.evaluation),
        _hash(record.start_model),
        _hash(hashes.get("model")),
    ]


def _status(record: Record) -> str:
    if record.finished or record.step is None:
        return record.status
    return f"{record.status}: {record.stage} {record.step}/{record.steps}"


def _hash(full: str | None) -> Child:
    """The first characters of a hash; the rest on hover. A Hub model is named as it is."""
    if not full:
        return "–"
    return tag("code", full if full.startswith("hub:") else full[:SHORT], title=full)


def _shared(manifests: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Per fact (commit, each version, device) its distinct values and how many runs have each."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for manifest in manifests.values():
        git, host = manifest.get("git", {}), manifest.get("host", {})
        facts = {"code commit": git.get("commit") or "not in a checkout"}
        facts |= {"machine": f"{host.get('system')} {host.get('machine')}"} if host else {}
        facts |= {"devices": ", ".join(map(str, host.get("devices", []))) or "CPU"} if host else {}
        for name, text in (facts | manifest.get("versions", {})).items():
            counts[name][str(text)] += 1
    items = []
    for name, values in counts.items():
        if len(values) == 1 and sum(values.values()) == len(manifests):
            text = next(iter(values))
        else:
            text = ", ".join(f"{value} ({count} runs)" for value, count in sorted(values.items()))
        items.append(tag("div", tag("dt", name), tag("dd", text)))
    return tag("dl", *items, class_="facts")


def differences(groups: Sequence[Group]) -> Markup:
    """A column per group, a row per key. Of keys that every method has, what is not the most
    frequent value stands out."""
    shared = shared_settings([record for group in groups for record in group.records])
    settings = [shared[group.records[0].group_id] for group in groups]
    keys = [key for key in varying(settings) if key not in ("method.name", "scenario.name")]
    alike = len({key for own in settings for key in own}) - len(varying(settings))
    same = f"{alike} keys are the same in every run and are not shown. {ABSENT}: no such key."
    lead = tag("p", same, class_="lead")
    if not keys:
        return join([lead, tag("p", "Method and scenario apart, no key differs.")])
    heads = [tag("th", "key", scope="col")]
    for group in groups:
        name = [tag("span", group.label), tag("small", group.scenario)]
        heads.append(tag("th", *name, scope="col"))
    body = [_setting_row(key, [own.get(key, ABSENT) for own in settings]) for key in keys]
    top = tag("thead", tag("tr", *heads))
    return join([lead, scroll(tag("table", top, tag("tbody", *body), class_="settings"))])


def _setting_row(key: str, values: Sequence[str | int | float | bool | None]) -> Markup:
    texts = [ABSENT if value == ABSENT else setting_text(value) for value in values]
    counts = Counter(text for text in texts if text != ABSENT)
    usual = min(counts, key=lambda text: (-counts[text], text))
    several = len(counts) > 1 and not key.startswith("method.")
    cells = [
        tag("td", text, class_="other" if several and text not in (usual, ABSENT) else None)
        for text in texts
    ]
    return tag("tr", tag("th", key, scope="row"), *cells)
