"""The displacement panel of every group: a table in the page, its buckets for the charts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tiebreak.metrics import PANEL, axis_label
from tiebreak_analysis import displacement
from tiebreak_analysis.displacement import PairSet, Panel
from tiebreak_analysis.displacement.parts import MIN_PAIRS
from tiebreak_analysis.page.charts import ends_of
from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.page.markup import Markup, body, scrolling_table, tag
from tiebreak_analysis.records.runs import Runs
from tiebreak_analysis.statistics import Interval

HEADS = {
    "method": "",
    "displaced?": "the verdict on all runs of the group",
    "all": "displaced share of all pairs",
    "near": "displaced share of near-duplicate pairs",
    "others": "displaced share of the other pairs",
    "chosen": "mean drift of chosen responses, nats",
    "rejected": "mean drift of rejected responses, nats",
    "margin": "chosen minus rejected, nats",
    "up": "share of the margin's growth that came from chosen responses going up",
    "undone": "how much of that growth the other side took back",
    "in words": "",
}
DIGITS = 4


def panels_of(runs: Runs, groups: Sequence[Group]) -> dict[str, Panel]:
    """Group id -> the panel over its finished runs; only groups of which some run left pairs."""
    keys = {g.group_id: [r.key for r in g.records if r.finished and r.trained] for g in groups}
    pairs = runs.pairs([key for keys_of_group in keys.values() for key in keys_of_group])
    present = set(pairs["run_id"])
    measured = {group: some for group, some in keys.items() if present & set(some)}
    return dict(zip(measured, displacement.compare(pairs, measured), strict=True))


def table(panels: Mapping[str, Panel], groups: Sequence[Group]) -> Markup:
    """A row per group, by scenario and, where there are several, by model and data; the verdict in
    words is its last column."""
    if not panels:
        return tag("p", "No finished run has left its held-out pairs.", class_="nothing")
    rows: dict[str, list[Markup]] = defaultdict(list)
    several = len({group.section for group in groups}) > 1
    for group in groups:
        if group.group_id in panels:
            place = f"{group.scenario} · {group.section}" if several else group.scenario
            rows[place].append(_row(group.label, panels[group.group_id]))
    heads = (tag("th", head, scope="col", title=why or None) for head, why in HEADS.items())
    bodies = (body(place, inside, len(HEADS)) for place, inside in rows.items())
    return scrolling_table(heads, bodies, "panels")


def _row(label: str, panel: Panel) -> Markup:
    whole, near, distant = panel.groups.whole, panel.groups.near, panel.groups.distant
    answer, missing = panel.answer.found, ", ".join(panel.without_pairs)
    text = panel.verdict.partition(" - ")[2] or panel.verdict
    text += f" (without pairs, not counted: {missing})" if missing else ""
    cells = [
        tag("td", tag("span", answer, class_=f"badge {answer.replace(' ', '-')}")),
        *map(_displaced, (whole, near, distant)),
        *map(_number, (whole.chosen, whole.rejected, whole.margin)),
        *(_number(value, share=True) for value in (whole.chosen_share, whole.undone)),
        tag("td", text, class_="words"),
    ]
    return tag("tr", tag("th", label, scope="row"), *cells)


def _displaced(part: PairSet) -> Markup:
    """The displaced share; none of too few pairs, as none is judged."""
    if min(part.num_chosen, default=0) >= MIN_PAIRS:
        return _number(part.displaced, share=True)
    return tag("td", "–", class_="number", title=f"fewer than {MIN_PAIRS} pairs in a run")


def _number(value: Interval | None, share: bool = False) -> Markup:
    """The mean, a share in per cent or a signed number of nats; its interval on hover."""
    if value is None:
        return tag("td", "–", class_="number")
    scale, decimals, unit, sign = (100, 0, " %", "") if share else (1, 2, "", "+")
    title = None
    if value.low is not None and value.high is not None:
        ends = (f"{scale * end:{sign}.{decimals}f}" for end in (value.low, value.high))
        title = f"95 % interval: {' to '.join(ends)}{unit}"
    mean = f"{scale * value.mean:{sign}.{decimals}f}{unit}"
    return tag("td", mean, class_="number", title=title)


def buckets(panels: Mapping[str, Panel]) -> dict[str, Any]:
    """For the charts. `groups`: group id -> edit_distance and length -> per bucket `[name,
    fewest responses in a run, measure -> [mean, low, high]]`; buckets of too few are left out."""
    return {
        "measures": {measure: axis_label(metric) for measure, metric in PANEL.items()},
        "groups": {
            group: {"edit_distance": _parts(p.by_edit_distance), "length": _parts(p.by_length)}
            for group, p in panels.items()
        },
    }


def _parts(parts: Sequence[PairSet]) -> list[list[Any]]:
    enough = [part for part in parts if min(part.num_chosen, default=0) >= MIN_PAIRS]
    measured = [{name: getattr(part, name) for name in PANEL} for part in enough]
    ends = ({n: ends_of(v, DIGITS) for n, v in of.items() if v is not None} for of in measured)
    return [[p.name, min(p.num_chosen), of] for p, of in zip(enough, ends, strict=True)]
