"""Where every number comes from: run ids, code, data, models, evaluator, versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.page.markup import Child, Markup, join, table, tag
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables.table import SHORT


def provenance(runs: Runs, groups: Sequence[Group]) -> Markup:
    """What all runs share is said once; then a row per run, and each record left out, by name."""
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
    if runs.skipped:
        items = [tag("li", f"{path.name}: {why}") for path, why in runs.skipped]
        told = f"Records that could not be used and are in no number here ({len(items)}):"
        parts += [tag("p", told), tag("ul", *items)]
    if runs.damaged:
        items = [tag("li", f"{run}: {file}: {why}") for (run, file), why in runs.damaged.items()]
        told = f"Damaged files, whose rows are in no chart here ({len(items)}):"
        parts += [tag("p", told), tag("ul", *sorted(items, key=lambda item: item.text))]
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
    """Its first characters; the rest on hover. A Hub model is named as it is."""
    if not full:
        return "–"
    return tag("code", full if full.startswith("hub:") else full[:SHORT], title=full)


def _shared(manifests: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Per fact (commit, each version, device) its distinct values and how many runs have each."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for manifest in manifests.values():
        git, host = manifest.get("git", {}), manifest.get("host", {})
        facts = {"code commit": git.get("commit") or "not in a checkout"}
        facts |= {"machine": f"{host.get('system')} {host.get('machine')}"} if host else {}
        facts |= {"devices": ", ".join(map(str, host.get("devices", []))) or "CPU"} if host else {}
        for name, text in (facts | manifest.get("versions", {})).items():
            found[name][str(text)] += 1
    items = []
    for name, values in found.items():
        if len(values) == 1 and sum(values.values()) == len(manifests):
            told = next(iter(values))
        else:
            told = ", ".join(f"{text} ({count} runs)" for text, count in sorted(values.items()))
        items.append(tag("div", tag("dt", name), tag("dd", told)))
    return tag("dl", *items, class_="facts")
