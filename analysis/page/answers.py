"""What the models wrote: the same few prompts for every group, one run of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from tiebreak_analysis.page.groups import Group

MOST = 16  # prompts
BUDGET = 700_000  # characters of all texts together
LONGEST = 1500  # characters of one text; the rest is cut, and that is said


def shown_runs(groups: Sequence[Group]) -> dict[str, str]:
    """Group id -> the run whose answers are shown: the finished one of the lowest seed."""
    finished = {g.group_id: [r.run_id for r in g.records if r.finished] for g in groups}
    return {group: runs[0] for group, runs in finished.items() if runs}


def answers(
    generations: pd.DataFrame, items: pd.DataFrame | None, shown: Mapping[str, str]
) -> dict[str, Any]:
    """`generations`: run_id, id, prompt, before, after. `items`: run_id, id, reward/before and
    reward/after, or None. `shown`: group id -> run id.

    Prompts are taken at even distances, without a look at the answers; fewer where the texts are
    long. `texts` holds each text once (start models repeat themselves), `prompts`: [id, text],
    `groups`: group id -> prompt id -> [before, after, reward before, reward after].
    """
    wanted = set(shown.values())
    rows = [
        _Row(*map(str, row[:3]), *map(_cut, row[3:]))
        for row in generations[["run_id", "id", "prompt", "before", "after"]].to_numpy().tolist()
        if row[0] in wanted
    ]
    rewards, keep = _rewards(items), _within_budget(rows)
    texts: dict[str, int] = {}
    told: dict[str, dict[str, list[Any]]] = {run: {} for run in wanted}
    for row in rows:
        if row.id in keep:
            pair = [texts.setdefault(text, len(texts)) for text in (row.before, row.after)]
            told[row.run_id][row.id] = [*pair, *rewards.get((row.run_id, row.id), (None, None))]
    return {
        "texts": list(texts),
        "prompts": list(keep.items()),
        "of": len({row.id for row in rows}),
        "groups": {group: told[run] for group, run in shown.items() if told[run]},
    }


class _Row(NamedTuple):
    run_id: str
    id: str
    prompt: str
    before: str
    after: str


def _within_budget(rows: Sequence[_Row]) -> dict[str, str]:
    """Every n-th prompt by its id, as few as it takes for the texts of all groups to fit."""
    prompts = {row.id: _cut(row.prompt) for row in sorted(rows, key=lambda row: row.id)}
    lengths = {name: len(prompt) for name, prompt in prompts.items()}
    for row in rows:
        lengths[row.id] += len(row.before) + len(row.after)
    names = list(prompts)
    for count in range(min(MOST, len(names)), 0, -1):
        keep = [names[at * len(names) // count] for at in range(count)]
        if count == 1 or sum(lengths[name] for name in keep) <= BUDGET:
            return {name: prompts[name] for name in keep}
    return {}


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … [{len(text) - LONGEST} more characters]"


def _rewards(items: pd.DataFrame | None) -> dict[tuple[str, str], tuple[float, float]]:
    if items is None or not {"reward/before", "reward/after"} <= set(items.columns):
        return {}
    table = items[["run_id", "id", "reward/before", "reward/after"]].dropna()
    return {
        (run, name): (float(f"{before:.3g}"), float(f"{after:.3g}"))
        for run, name, before, after in table.itertuples(index=False)
    }
