"""The runs a page shows: how each group is called and drawn, and where its numbers come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tiebreak_analysis.figures.palette import LINES, MARKERS, looks
from tiebreak_analysis.page.markup import Child, Markup, join, scrolling_table, tag
from tiebreak_analysis.records.runs import Record, Runs, setting_text, varying
from tiebreak_analysis.tables.comparison import sections_alike
from tiebreak_analysis.tables.labels import material, shared_settings
from tiebreak_analysis.tables.rows import grouped
from tiebreak_analysis.tables.table import SHORT, Table, material_title, section_title

ABSENT = "·"
HEADS = ("run", "group", "scenario", "method", "seed", "status", "commit", "data", "evaluation",
         "start model", "model", "layout")  # fmt: skip
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
    def row(self) -> tuple[str, str | None]:
        """Group id and evaluation of its finished runs, as the rows of a table have them."""
        evaluations = (record.evaluation for record in self.records if record.finished)
        return self.records[0].group_id, next(evaluations, None)


def groups_of(records: Sequence[Record], tables: Sequence[Table]) -> tuple[Group, ...]:
    """One `Group` per group id and evaluation, in the order of the tables; others come last.

    Labels are those of the tables, so that a row there and a curve here have the same name.
    """
    named: dict[str, tuple[str, str]] = {}
    for row in (row for t in tables for section in t.sections for row in section.rows):
        if row.group_id is not None:  # the first table that has a group names it
            named.setdefault(row.group_id, (row.label, row.scenario))
    order = {group: at for at, group in enumerate(named)}
    by_group = grouped(records, lambda record: record.group_id)
    sections = _sections(records)
    taken: set[tuple[str, str, str]] = set()
    groups = []
    for group_id in sorted(by_group, key=lambda group: (order.get(group, len(order)), group)):
        several = _by_evaluation(by_group[group_id])
        for evaluation, runs in sorted(several.items()):
            label, scenario = named.get(group_id, (runs[0].method, runs[0].scenario))
            section = sections[group_id, evaluation or None]
            if (section, scenario, label) in taken:
                label = f"{label} [group {group_id[:SHORT]}]"
            taken.add((section, scenario, label))
            own_id = group_id if len(several) == 1 else f"{group_id}-{evaluation[:SHORT]}"
            groups.append(Group(own_id, label, runs[0].method, scenario, section, tuple(runs)))
    return tuple(groups)


def _by_evaluation(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Evaluation -> the runs of a group, by seed; unfinished ones are with the first."""
    ways = sorted({r.evaluation or "" for r in records if r.finished}) or [""]
    ordered = sorted(records, key=lambda r: (r.seed, r.run_id))
    return grouped(ordered, lambda r: (r.evaluation or "") if r.finished else ways[0])


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
        title = material_title(model, data) if names[model, data] == 1 else section_title(*key)
        for record in members:  # a checkpoint may stand in several: here, in the first
            sections.setdefault((record.group_id, record.evaluation), title)
            using[material(record.settings)].add(title)
    for record in records:
        beside = using[material(record.settings)]
        plain = material_title(record.model, record.data)
        title = next(iter(beside)) if len(beside) == 1 else plain
        sections.setdefault((record.group_id, None), title)
    return sections


def looks_of(groups: Sequence[Group]) -> dict[str, dict[str, str]]:
    """Row label -> colour, dash and symbol as in the figures for papers, as plotly.js says them."""
    return {
        label: {
            "colour": look.colour,
            "dash": DASHES[LINES.index(look.line)],
            "symbol": SYMBOLS[MARKERS.index(look.marker)] + ("" if look.filled else "-open"),
        }
        for label, look in looks({group.label: group.method for group in groups}).items()
    }


def provenance(groups: Sequence[Group], runs: Runs | None = None) -> Markup:
    """What all runs share is said once; then a row per run, and each record of `runs` that is left
    out, by name."""
    heads = (tag("th", head, scope="col") for head in HEADS)
    rows = (_row(group, at) for group in groups for at in range(len(group.records)))
    parts = [_shared(groups), scrolling_table(heads, [tag("tbody", *rows)], "provenance")]
    skipped = [f"{path.name}: {why}" for path, why in runs.skipped] if runs else []
    damaged = runs.damaged.items() if runs else []
    for lead, lines in (
        ("Records that could not be used and are in no number here", skipped),
        ("Damaged files, whose rows are in no chart here",
         sorted(f"{run}: {file}: {why}" for (run, file), why in damaged)),
    ):  # fmt: skip
        if lines:
            items = [tag("li", line) for line in lines]
            parts += [tag("p", f"{lead} ({len(lines)}):"), tag("ul", *items)]
    return join(parts)


def _row(group: Group, at: int) -> Markup:
    """The group's run number `at`; the links of the leaderboard lead to the first."""
    record, group_id = group.records[at], tag("code", group.records[at].group_id)
    git, hashes = record.manifest.get("git", {}), record.manifest.get("hashes", {})
    going = not record.finished and record.step is not None
    cells: list[Child] = [
        group_id if at else tag("span", group_id, id=group.group_id),
        group.scenario,
        group.label,
        str(record.seed),
        record.status + (f": {record.stage} {record.step}/{record.steps}" if going else ""),
        join([_hash(git.get("commit")), " + changes" if git.get("dirty") else ""]),
        _hash(record.data_hash),
        _hash(record.evaluation),
        _hash(record.start_model),
        _hash(hashes.get("model")),
        record.manifest.get("layout", {}).get("layout", "–"),
    ]
    run_id = tag("th", tag("code", record.run_id), scope="row")
    return tag("tr", run_id, *(tag("td", cell) for cell in cells))


def _hash(full: str | None) -> Child:
    """The first characters of a hash; the rest on hover. A Hub model is named as it is."""
    if not full:
        return "–"
    return tag("code", full if full.startswith("hub:") else full[:SHORT], title=full)


def _shared(groups: Sequence[Group]) -> Markup:
    """Per fact (commit, each version, device) its distinct values and how many runs have each."""
    manifests = {r.run_id: r.manifest for group in groups for r in group.records}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for manifest in manifests.values():
        git, host = manifest.get("git", {}), manifest.get("host", {})
        facts = {"code commit": git.get("commit") or "not in a checkout"}
        facts |= {"machine": f"{host.get('system')} {host.get('machine')}"} if host else {}
        facts |= {"devices": ", ".join(map(str, host.get("devices", []))) or "CPU"} if host else {}
        for name, text in (facts | manifest.get("versions", {})).items():
            counts[name][str(text)] += 1
    items = []
    for name, values in counts.items():
        text = ", ".join(f"{value} ({count} runs)" for value, count in sorted(values.items()))
        if list(values.values()) == [len(manifests)]:
            text = next(iter(values))
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
    names = [(tag("span", group.label), tag("small", group.scenario)) for group in groups]
    heads = (tag("th", *name, scope="col") for name in [("key",), *names])
    rows = (_setting_row(key, [own.get(key, ABSENT) for own in settings]) for key in keys)
    return join([lead, scrolling_table(heads, [tag("tbody", *rows)], "settings")])


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
