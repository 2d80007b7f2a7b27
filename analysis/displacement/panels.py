"""The displacement panel of one run or several, its buckets of pairs, and all of it as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tiebreak.errors import UserError
from tiebreak_analysis.displacement import parts
from tiebreak_analysis.displacement.parts import MEASURES, Displaced, Groups, PairSet, part

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
    distance, length = rows["edit_distance"], rows["length/chosen"]
    groups = Groups(
        part("all pairs", rows),
        part("near-duplicate pairs", rows[distance <= NEAR_DUPLICATE]),
        part("other pairs", rows[distance > NEAR_DUPLICATE]),
    )
    answer = parts.answer(groups)
    return Panel(
        label=label,
        run_ids=run_ids,
        without_pairs=(),
        answer=answer,
        verdict=parts.verdict([answer], groups),
        groups=groups,
        by_edit_distance=tuple(  # a bucket holds its upper edge, the first its lower one too
            part(
                f"{low:g} to {high:g}",
                rows[distance.between(low, high, "right" if low else "both")],
            )
            for low, high in pairwise(EDIT_DISTANCE_EDGES)
        ),
        by_length=tuple(
            part(_tokens(low, high), rows[(length > low) & (length <= high)])
            for low, high in pairwise(LENGTH_EDGES)
        ),
    )


def _tokens(low: float, high: float) -> str:
    return f"over {low}" if high == math.inf else f"{low + 1} to {high}"


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
    groups = Groups(*_pooled_parts([one.groups.all for one in kept]))
    answers = [one.answer for one in kept]
    return Panel(
        label=label,
        run_ids=tuple(run_id for one in kept for run_id in one.run_ids),
        without_pairs=missing,
        answer=parts.pooled_answer(answers),
        verdict=parts.verdict(answers, groups),
        groups=groups,
        by_edit_distance=_pooled_parts([one.by_edit_distance for one in kept]),
        by_length=_pooled_parts([one.by_length for one in kept]),
    )


def _pooled_parts(of_runs: Sequence[tuple[PairSet, ...]]) -> tuple[PairSet, ...]:
    return tuple(parts.pooled_part(same) for same in zip(*of_runs, strict=True))


def _numbers(pairs: pd.DataFrame, label: str) -> pd.DataFrame:
    """The needed columns as floats. A run without pairs may have no columns at all."""
    missing = [name for name in COLUMNS if name not in pairs]
    if missing and len(pairs):
        raise UserError(
            f"pairs of {label or 'this run'} lack {', '.join(missing)}: it is no pairs.parquet of "
            "this version; make the run again, or leave it out"
        )
    return pairs.reindex(columns=COLUMNS).astype(float)


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
    for by, buckets in (
        ("group", panel.groups.all),
        ("edit_distance", panel.by_edit_distance),
        ("length", panel.by_length),
    ):
        for order, bucket in enumerate(buckets):
            place = {"by": by, "bucket": bucket.name, "order": order}
            place |= about | {"num_chosen": min(bucket.num_chosen)}
            for measure in MEASURES:
                found = getattr(bucket, measure)
                values = {"n": 0} if found is None else asdict(found)
                yield place | {"measure": measure} | values
