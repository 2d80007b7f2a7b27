"""The displacement panel of one run, and of several runs of several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tiebreak.errors import UserError
from tiebreak_analysis.displacement import buckets, verdict
from tiebreak_analysis.displacement.parts import Part, part, pooled, pooled_part, rank_correlation
from tiebreak_analysis.displacement.training import Phase, phases, pooled_phases
from tiebreak_analysis.displacement.verdict import Answer, Groups
from tiebreak_analysis.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["length/chosen", "drift/chosen", "length/rejected", "drift/rejected", "edit_distance"]


@dataclass(frozen=True)
class Panel:
    """Where the log-probs of held-out pairs went, and the verdict. `dataclasses.asdict` is JSON.

    Of one run, or of several that differ in the seed alone: then every number was computed by run
    first, and its interval is over runs.
    """

    label: str
    run_ids: tuple[str, ...]
    without_pairs: tuple[str, ...]
    """Runs that were asked for and left no pairs: in none of the numbers."""
    answer: Answer
    verdict: str
    groups: Groups
    by_edit_distance: tuple[Part, ...]
    by_length: tuple[Part, ...]
    """By tokens of the chosen response."""
    length_correlation: Interval | None
    """Spearman's, over pairs: length of chosen minus rejected, with the drift margin."""
    length_correlation_per_token: Interval | None
    """The same with the margin of drift per token. The sum carries length in itself: where every
    token drifts alike, the longer response drifts more."""
    training: tuple[Phase, ...]
    """The same drifts on the training pairs, as training went."""

    @property
    def over(self) -> str:
        """What the intervals are over."""
        return "runs" if len(self.run_ids) > 1 else "pairs"


def panel(pairs: pd.DataFrame, history: pd.DataFrame | None = None, label: str = "") -> Panel:
    """Of one run. `pairs`: its rows of `pairs.parquet`; `history`: its rows of `metrics.jsonl`.

    Raises UserError for a column that is not there, and for rows of more than one run.
    """
    run_ids = tuple(sorted(set(pairs["run_id"]))) if "run_id" in pairs else ()
    if len(run_ids) > 1:
        raise UserError(f"pairs of {len(run_ids)} runs in one panel: use displacement.compare")
    label = label or " ".join(run_ids)
    rows = _numbers(pairs, label)
    groups = Groups(part("all pairs", rows), *buckets.near_and_distant(rows))
    answer = verdict.answer(groups)
    longer = rows["length/chosen"] - rows["length/rejected"]
    chosen, rejected = rows["drift/chosen"], rows["drift/rejected"]
    per_token = chosen / rows["length/chosen"] - rejected / rows["length/rejected"]
    return Panel(
        label=label,
        run_ids=run_ids,
        without_pairs=(),
        answer=answer,
        verdict=verdict.line(answer, groups),
        groups=groups,
        by_edit_distance=buckets.by_edit_distance(rows),
        by_length=buckets.by_length(rows),
        length_correlation=rank_correlation(longer, chosen - rejected),
        length_correlation_per_token=rank_correlation(longer, per_token),
        training=() if history is None else phases(history),
    )


def compare(
    pairs: pd.DataFrame, history: pd.DataFrame | None, groups: Mapping[str, Sequence[str]]
) -> tuple[Panel, ...]:
    """One panel per group, in their order. `groups`: label -> run ids, one per seed.

    Runs whose pairs lack a column (foreign ones, or of an older version) count as without pairs.
    `pairs` and `history` hold the rows of all these runs, told apart by `run_id`.
    """
    assert all(ids and len(set(ids)) == len(ids) for ids in groups.values()), "one run per seed"
    return tuple(
        _pooled(label, run_ids, [_of_run(pairs, history, run_id) for run_id in run_ids])
        for label, run_ids in groups.items()
    )


def _of_run(pairs: pd.DataFrame, history: pd.DataFrame | None, run_id: str) -> Panel:
    rows = pairs[pairs["run_id"] == run_id] if len(pairs) else pairs
    if not _whole(rows):
        rows = rows.iloc[:0]
    steps = None if history is None or history.empty else history[history["run_id"] == run_id]
    return panel(rows, steps, label=run_id)


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
        answer=verdict.pooled(answers),
        verdict=verdict.pooled_line(answers, groups),
        groups=groups,
        by_edit_distance=_pooled_parts([one.by_edit_distance for one in kept]),
        by_length=_pooled_parts([one.by_length for one in kept]),
        length_correlation=pooled([one.length_correlation for one in kept]),
        length_correlation_per_token=pooled([one.length_correlation_per_token for one in kept]),
        training=pooled_phases([one.training for one in kept]),
    )


def _pooled_parts(of_runs: Sequence[tuple[Part, ...]]) -> tuple[Part, ...]:
    return tuple(pooled_part(same) for same in zip(*of_runs, strict=True))


def _numbers(pairs: pd.DataFrame, label: str) -> pd.DataFrame:
    """The columns that are needed, as floats. A run without pairs may have no columns at all."""
    missing = [name for name in COLUMNS if name not in pairs]
    if missing and len(pairs):
        raise UserError(
            f"pairs of {label or 'this run'} lack {', '.join(missing)}: it is no pairs.parquet of "
            "this version; make the run again, or leave it out"
        )
    return pairs.reindex(columns=COLUMNS).astype(float)
