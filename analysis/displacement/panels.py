"""The displacement panel of one run or several, its buckets of pairs, and all of it as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tiebreak.errors import UserError
from tiebreak_analysis.displacement.parts import (
    MEASURES,
    Displaced,
    Groups,
    PairSet,
    answer,
    line,
    part,
    pooled_answer,
    pooled_line,
    pooled_part,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["length/chosen", "drift/chosen", "length/rejected", "drift/rejected", "edit_distance"]
TIDY_COLUMNS = "label method over by bucket order num_chosen measure mean low high n".split()

# Levenshtein distance over the tokens, divided by the longer response: 0 the same, 1 nothing alike.
# Closer spaced where displacement lives: the DPOP paper (2402.13228) found it in pairs 6.5 % apart
# and not in pairs 90 % apart.
EDIT_DISTANCE_EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
# Up to here a pair is called near-duplicate: at most every fourth token must change.
NEAR_DUPLICATE = 0.25
# Tokens of the chosen response, doubling: what a sum over tokens shows grows with length.
LENGTH_EDGES = (0, 16, 32, 64, 128, 256, 512, math.inf)


@dataclass(frozen=True)
class Panel:
    """Where the log-probs of held-out pairs went, and the verdict. `dataclasses.asdict` is JSON.

    It is of one run, or of several that differ in the seed alone: then every number was computed
    by run first, and its interval is over runs.
    """

    label: str
    run_ids: tuple[str, ...]
    without_pairs: tuple[str, ...]
    """Runs that were asked for and left no pairs: in none of the numbers."""
    answer: Displaced
    verdict: str
    groups: Groups
    by_edit_distance: tuple[PairSet, ...]
    by_length: tuple[PairSet, ...]
    """By tokens of the chosen response."""

    @property
    def over(self) -> str:
        """What the intervals are over: `runs` or `pairs`."""
        return "runs" if len(self.run_ids) > 1 else "pairs"


def panel(pairs: pd.DataFrame, label: str = "") -> Panel:
    """The panel of one run, from its rows of `pairs.parquet`.

    UserError: a column is not there, or the rows are of more than one run.
    """
    run_ids = tuple(sorted(set(pairs["run_id"]))) if "run_id" in pairs else ()
    if len(run_ids) > 1:
        raise UserError(f"pairs of {len(run_ids)} runs in one panel: use displacement.compare")
    label = label or " ".join(run_ids)
    rows = _numbers(pairs, label)
    groups = Groups(part("all pairs", rows), *near_and_distant(rows))
    found = answer(groups)
    return Panel(
        label=label,
        run_ids=run_ids,
        without_pairs=(),
        answer=found,
        verdict=line(found, groups),
        groups=groups,
        by_edit_distance=by_edit_distance(rows),
        by_length=by_length(rows),
    )


def compare(pairs: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> tuple[Panel, ...]:
    """One panel per group, in their order. `groups`: label -> run ids, one per seed.

    Runs whose pairs lack a column (foreign ones, or of an older version) count as without pairs.
    `pairs` holds the rows of all these runs, told apart by `run_id`.
    """
    assert all(ids and len(set(ids)) == len(ids) for ids in groups.values()), "one run per seed"
    return tuple(
        _pooled(label, run_ids, [_of_run(pairs, run_id) for run_id in run_ids])
        for label, run_ids in groups.items()
    )


def _of_run(pairs: pd.DataFrame, run_id: str) -> Panel:
    rows = pairs[pairs["run_id"] == run_id] if len(pairs) else pairs
    if not _whole(rows):
        rows = rows.iloc[:0]
    return panel(rows, label=run_id)


def _whole(rows: pd.DataFrame) -> bool:
    """Whether a run's rows have what a panel needs: drift and length of the same sides, and the
    distance of pairs. Beside other runs' rows a column that is not there is empty."""
    there = rows.reindex(columns=COLUMNS).notna()
    sides = [(there[f"drift/{side}"], there[f"length/{side}"]) for side in ("chosen", "rejected")]
    (chosen, _), (rejected, _) = sides
    return (
        set(COLUMNS) <= set(rows)
        and bool(chosen.any() or rejected.any())
        and all(drift.any() == length.any() for drift, length in sides)
        and bool(there["edit_distance"].any() or not (chosen & rejected).any())
    )


def _pooled(label: str, run_ids: Sequence[str], panels: Sequence[Panel]) -> Panel:
    """Runs without pairs are named and left out; one run that is left keeps its own intervals."""
    kept = [one for one in panels if one.run_ids]
    missing = tuple(sorted({one.label for one in panels} - {one.label for one in kept}))
    if len(kept) < 2:
        return replace((kept or panels)[0], label=label, without_pairs=missing)
    parts = {name: [getattr(p.groups, name) for p in kept] for name in ("whole", "near", "distant")}
    groups = Groups(**{name: pooled_part(of_runs) for name, of_runs in parts.items()})
    answers = [one.answer for one in kept]
    return Panel(
        label=label,
        run_ids=tuple(run_id for one in kept for run_id in one.run_ids),
        without_pairs=missing,
        answer=pooled_answer(answers),
        verdict=pooled_line(answers, groups),
        groups=groups,
        by_edit_distance=_pooled_parts([one.by_edit_distance for one in kept]),
        by_length=_pooled_parts([one.by_length for one in kept]),
    )


def _pooled_parts(of_runs: Sequence[tuple[PairSet, ...]]) -> tuple[PairSet, ...]:
    return tuple(pooled_part(same) for same in zip(*of_runs, strict=True))


def _numbers(pairs: pd.DataFrame, label: str) -> pd.DataFrame:
    """The needed columns as floats. A run without pairs may have no columns at all."""
    missing = [name for name in COLUMNS if name not in pairs]
    if missing and len(pairs):
        raise UserError(
            f"pairs of {label or 'this run'} lack {', '.join(missing)}: it is no pairs.parquet of "
            "this version; make the run again, or leave it out"
        )
    return pairs.reindex(columns=COLUMNS).astype(float)


def by_edit_distance(rows: pd.DataFrame) -> tuple[PairSet, ...]:
    """One part per bucket, empty ones too. A bucket holds its upper edge, the first its lower."""
    distance = rows["edit_distance"]
    return tuple(
        part(f"{low:g} to {high:g}", rows[distance.between(low, high, "right" if low else "both")])
        for low, high in pairwise(EDIT_DISTANCE_EDGES)
    )


def by_length(rows: pd.DataFrame) -> tuple[PairSet, ...]:
    """One part per bucket of the chosen response's tokens, empty ones too."""
    length = rows["length/chosen"]
    return tuple(
        part(
            f"over {low}" if high == math.inf else f"{low + 1} to {high}",
            rows[(length > low) & (length <= high)],
        )
        for low, high in pairwise(LENGTH_EDGES)
    )


def near_and_distant(rows: pd.DataFrame) -> tuple[PairSet, PairSet]:
    """Near-duplicate pairs, and the others."""
    distance = rows["edit_distance"]
    near = rows[distance <= NEAR_DUPLICATE]
    return part("near-duplicate pairs", near), part("other pairs", rows[distance > NEAR_DUPLICATE])


def tidy(panels: Sequence[Panel], methods: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per panel, bucket and measure (a field of `PairSet`), empty buckets too.

    `methods`: label -> method, where labels carry settings. Columns: label; method; over, what the
    intervals are over (`pairs` or `runs`); by (`group`, `edit_distance` or `length`); bucket, its
    name; order within `by`; num_chosen, chosen responses in the run that has fewest; measure;
    mean, low, high, n (missing where nothing was measured, n then 0).
    """
    import pandas as pd

    rows = [row for panel in panels for row in _rows(panel, methods or {})]
    return pd.DataFrame(rows, columns=pd.Index(TIDY_COLUMNS))


def _rows(panel: Panel, methods: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    method = methods.get(panel.label, panel.label)
    about = {"label": panel.label, "method": method, "over": panel.over}
    groups = (panel.groups.whole, panel.groups.near, panel.groups.distant)
    for by, parts in (
        ("group", groups),
        ("edit_distance", panel.by_edit_distance),
        ("length", panel.by_length),
    ):
        for order, bucket in enumerate(parts):
            place = about | {"by": by, "bucket": bucket.name, "order": order}
            for measure in MEASURES:
                yield place | {"measure": measure} | _values(bucket, measure)


def _values(part: PairSet, measure: str) -> dict[str, Any]:
    found = getattr(part, measure)
    known = {"num_chosen": min(part.num_chosen)}
    if found is None:
        return known | {"mean": None, "low": None, "high": None, "n": 0}
    return known | {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
