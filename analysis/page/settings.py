"""The configs side by side: only the keys that differ between groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.page.markup import Markup, join, scroll, tag
from tiebreak_analysis.records.runs import setting_text, varying
from tiebreak_analysis.tables.labels import shared_settings

ABSENT = "·"


def differences(groups: Sequence[Group]) -> Markup:
    """A column per group, a row per key. Of keys that every method has, what is not the most
    frequent value stands out."""
    shared = shared_settings([record for group in groups for record in group.records])
    told = [shared[group.group_id] for group in groups]
    keys = [key for key in varying(told) if key not in ("method.name", "scenario.name")]
    alike = len({key for settings in told for key in settings}) - len(varying(told))
    told_alike = f"{alike} keys are the same in every run and are not shown. {ABSENT}: no such key."
    lead = tag("p", told_alike, class_="lead")
    if not keys:
        return join([lead, tag("p", "Method and scenario apart, no key differs.")])
    heads = [tag("th", "key", scope="col")]
    for group in groups:
        name = [tag("span", group.label), tag("small", group.scenario)]
        heads.append(tag("th", *name, scope="col"))
    body = [_row(key, [s[key] if key in s else ABSENT for s in told]) for key in keys]
    top = tag("thead", tag("tr", *heads))
    return join([lead, scroll(tag("table", top, tag("tbody", *body), class_="settings"))])


def _row(key: str, values: Sequence[str | int | float | bool | None]) -> Markup:
    texts = [ABSENT if value == ABSENT else setting_text(value) for value in values]
    counts = Counter(text for text in texts if text != ABSENT)
    usual = min(counts, key=lambda text: (-counts[text], text))
    several = len(counts) > 1 and not key.startswith("method.")
    cells = [
        tag("td", text, class_="other" if several and text not in (usual, ABSENT) else None)
        for text in texts
    ]
    return tag("tr", tag("th", key, scope="row"), *cells)
