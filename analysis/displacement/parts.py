"""What happened to one set of held-out pairs: drift, displaced share, who made the margin grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95


@dataclass(frozen=True)
class PairSet:
    """One set of pairs: all of them, or a bucket. Where nothing was measured: None.

    For one run the intervals are over its pairs; for several, over the runs (one value each).
    """

    name: str
    num_chosen: tuple[int, ...]
    """Chosen responses in this set, by run. All of them have a rejected one, unless the data are
    unpaired (a label for each response): then `margin.n` counts the pairs."""
    displaced: Interval | None = None
    """Share of chosen responses whose drift is below zero."""
    chosen: Interval | None = None
    """Drift in nats, a sum over the response; mean over responses. Likewise `rejected`."""
    rejected: Interval | None = None
    chosen_per_token: Interval | None = None
    """Drift over length, in nats per token; mean over responses."""
    rejected_per_token: Interval | None = None
    margin: Interval | None = None
    """Drift of chosen minus drift of rejected, in nats; mean over pairs."""
    chosen_share: Interval | None = None
    """See `split`. None where the margin did not clearly grow."""
    rejected_share: Interval | None = None
    undone: Interval | None = None


MEASURES = (
    "displaced chosen rejected chosen_per_token rejected_per_token margin "
    "chosen_share rejected_share undone"
).split()


def part(name: str, rows: pd.DataFrame) -> PairSet:
    """The numbers of these rows of one run's `pairs.parquet`; missing sides are left out."""
    if rows.empty:
        return PairSet(name, (0,))
    chosen, rejected = (rows[f"drift/{side}"].to_numpy() for side in ("chosen", "rejected"))
    lengths = (rows[f"length/{side}"].to_numpy() for side in ("chosen", "rejected"))
    per_token = [drift / length for drift, length in zip((chosen, rejected), lengths, strict=True)]
    both = ~np.isnan(chosen) & ~np.isnan(rejected)
    num_chosen = int((~np.isnan(chosen)).sum())
    margin = _mean((chosen - rejected)[both])
    shares: Sequence[Interval | None] = (None, None, None)
    if margin is not None and margin.low is not None and margin.low > 0:
        of_both = (fmean(drift[both].tolist()) for drift in (chosen, rejected))
        shares = [Interval(value, None, None, margin.n) for value in split(*of_both)]
    return PairSet(
        name,
        (num_chosen,),
        share(int((chosen < 0).sum()), num_chosen) if num_chosen else None,
        *(_mean(values) for values in (chosen, rejected, *per_token)),
        margin,
        *shares,
    )


def split(chosen: float, rejected: float) -> tuple[float, float, float]:
    """Who made a margin grow: (share of chosen up, share of rejected down, share undone).

    `chosen` and `rejected` are mean drifts in nats, with chosen > rejected. A margin is pulled up
    by a chosen response that rises and by a rejected one that falls; the first two numbers are
    the shares of that pull, between 0 and 1, and add up to 1. When one side moves the wrong way
    (both fall, or both rise), the other made all of it, and the third number is how much of that
    pull the wrong way took back: growth = pull * (1 - undone). Nothing else is left to define:
    with chosen > rejected at least one side pulls up, and what is undone is less than all.
    """
    assert chosen > rejected, "a margin that did not grow has no growth to split"
    up, down = max(chosen, 0.0), max(-rejected, 0.0)
    back = max(-chosen, 0.0) + max(rejected, 0.0)
    pull = up + down
    return up / pull, down / pull, back / pull


def share(count: int, n: int, level: float = LEVEL) -> Interval:
    """`count` of `n` as a share, with the exact binomial interval.

    Source: Clopper and Pearson (1934). It holds its level at every share (0 and 1 too, where the
    normal interval has no width) and is somewhat wide for it.
    """
    assert 0 <= count <= n > 0
    tail = (1 - level) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return Interval(count / n, low, high, n)


def pooled(values: Sequence[Interval | None]) -> Interval | None:
    """Mean over runs, each run's mean counting once; its n leaves out runs without a value."""
    means = [value.mean for value in values if value is not None]
    return mean_interval(means, LEVEL) if means else None


def pooled_part(parts: Sequence[PairSet]) -> PairSet:
    """One set of pairs over several runs: shares and means by run first, then over runs."""
    measures = {name: pooled([getattr(p, name) for p in parts]) for name in MEASURES}
    return PairSet(parts[0].name, tuple(n for p in parts for n in p.num_chosen), **measures)


def _mean(values: np.ndarray) -> Interval | None:
    """Mean of the values that were measured; None: there is none."""
    measured = values[~np.isnan(values)]
    return mean_interval(measured.tolist(), LEVEL) if len(measured) else None


def position_profile(
    logp: Sequence[np.ndarray],
    first: Sequence[int | None],
    before: int = 5,
    after: int = 15,
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean by position relative to the first token in which chosen and rejected differ (0).

    DPO on near-duplicate pairs lowers the chosen tokens after it, which both responses share (Pal
    et al. 2024, arXiv 2402.13228, section 3). `logp` may be log-probs, or drifts (policy minus
    reference), per response an array (its tokens,), in nats; `first`: the column
    `first_difference` of `pair_tokens.parquet`, None where the responses are the same. Columns:
    position, from -before to +after; mean, low, high (over responses); n, the responses that reach
    there. A position that fewer than one response reaches has no row.
    """
    import pandas as pd

    rows = []
    pairs = [(t, at) for t, at in zip(logp, first, strict=True) if at is not None]
    for position in range(-before, after + 1):
        values = [
            float(tokens[at + position]) for tokens, at in pairs if 0 <= at + position < len(tokens)
        ]
        if values:
            found = mean_interval(values, level)
            rows.append((position, found.mean, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=pd.Index(["position", "mean", "low", "high", "n"]))
