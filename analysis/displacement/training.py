"""The same drifts on the training pairs: from the history, in at most ten phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiebreak_analysis.displacement.parts import pooled
from tiebreak_analysis.statistics import Interval

if TYPE_CHECKING:
    import pandas as pd

# One optimiser batch is a handful of pairs; a tenth of the steps is calm enough to read.
NUM_PHASES = 10
MEASURES = {"chosen": "drift/chosen", "rejected": "drift/rejected", "displaced": "displaced/share"}


@dataclass(frozen=True)
class Phase:
    """Means over some consecutive steps; None where no step has the metric."""

    first_step: int
    last_step: int
    chosen: Interval | None
    """Drift of chosen responses of the training batches, nats."""
    rejected: Interval | None
    displaced: Interval | None
    """Share of them whose drift is below zero."""


def phases(history: pd.DataFrame) -> tuple[Phase, ...]:
    """Of one run; empty where its history has no drift (no reference log-probs)."""
    if MEASURES["chosen"] not in history or history[MEASURES["chosen"]].isna().all():
        return ()
    steps = history.sort_values("step")
    count = min(NUM_PHASES, len(steps))
    cuts = [round(at * len(steps) / count) for at in range(count + 1)]
    return tuple(_phase(steps.iloc[a:b]) for a, b in zip(cuts, cuts[1:], strict=False))


def pooled_phases(of_runs: Sequence[tuple[Phase, ...]]) -> tuple[Phase, ...]:
    """Mean over runs, phase by phase; empty unless all runs went through the same steps."""
    if len({tuple((p.first_step, p.last_step) for p in phases) for phases in of_runs}) != 1:
        return ()
    return tuple(
        Phase(
            same[0].first_step,
            same[0].last_step,
            **{name: pooled([getattr(phase, name) for phase in same]) for name in MEASURES},
        )
        for same in zip(*of_runs, strict=True)
    )


def _phase(steps: pd.DataFrame) -> Phase:
    found: dict[str, Interval | None] = {}
    for name, metric in MEASURES.items():
        values = steps[metric].dropna() if metric in steps else steps["step"].iloc[:0]
        count = len(values)
        found[name] = Interval(float(values.mean()), None, None, count) if count else None
    return Phase(int(steps["step"].iloc[0]), int(steps["step"].iloc[-1]), **found)
