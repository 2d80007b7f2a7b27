"""Where every number comes from: run ids, code, data, models, versions; settings that differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.page.markup import Child, Markup, join, scroll, table, tag
from tiebreak_analysis.records.runs import Record, Runs, setting_text, varying
from tiebreak_analysis.tables.labels import shared_settings
from tiebreak_analysis.tables.table import SHORT

ABSENT = "·"


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
    if runs is not None and runs.skipped:
        items = [tag("li", f"{path.name}: {why}") for path, why in runs.skipped]
        lead = f"Records that could not be used and are in no number here ({len(items)}):"
        parts += [tag("p", lead), tag("ul", *items)]
    if runs is not None and runs.damaged:
        items = [tag("li", f"{run}: {file}: {why}") for (run, file), why in runs.damaged.items()]
        lead = f"Damaged files, whose rows are in no chart here ({len(items)}):"
        parts += [tag("p", lead), tag("ul", *sorted(items, key=lambda item: item.text))]
    return join(parts)


HEADS = ("run", "group", "scenario", "method", "seed", "status", "commit", "data", "evaluator",
         "start model", "model")  # fmt: skip


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
