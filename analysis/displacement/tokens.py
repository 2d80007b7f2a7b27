"""Where in a response log-probs move: before, at and after the first token of a pair that differs.

DPO on near-duplicate pairs lowers the chosen tokens *after* the first difference, which both
responses share (Pal et al. 2024, arXiv 2402.13228, section 3); this measures it, from log-probs per
token (`pair_tokens.parquet`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd


def after_difference(
    logp: Sequence[np.ndarray], first: Sequence[int | None], level: float = 0.95
) -> Interval | None:
    """Mean log-prob per token after the first that differs, in nats; one value per response.

    `logp`: per response an array (its tokens,); `first`: the column `first_difference`
    of `pair_tokens.parquet`, None where the responses are the same. Responses with no token after
    it are left out. Per response first, so that long ones do not weigh more.
    """
    values = [
        float(np.mean(tokens[at + 1 :]))
        for tokens, at in _paired(logp, first)
        if len(tokens) > at + 1
    ]
    return mean_interval(values, level) if values else None


def position_profile(
    logp: Sequence[np.ndarray],
    first: Sequence[int | None],
    before: int = 5,
    after: int = 15,
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean by position relative to the first token that differs (position 0).

    `logp` may be log-probs, or drifts (policy minus reference), per response an array (its
    tokens,), in nats. Columns: position, from -before to +after; mean, low, high (over responses);
    n, the responses that reach there. A position that fewer than one response reaches has no row.
    """
    import pandas as pd

    rows = []
    pairs = list(_paired(logp, first))
    for position in range(-before, after + 1):
        values = [
            float(tokens[at + position]) for tokens, at in pairs if 0 <= at + position < len(tokens)
        ]
        if values:
            found = mean_interval(values, level)
            rows.append((position, found.mean, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=pd.Index(["position", "mean", "low", "high", "n"]))


def _paired(
    logp: Sequence[np.ndarray], first: Sequence[int | None]
) -> Iterator[tuple[np.ndarray, int]]:
    """The responses of pairs that differ somewhere."""
    return ((t, at) for t, at in zip(logp, first, strict=True) if at is not None)
