"""Training metrics as sums (a file of its own: whoever adds a metric changes it alone). Every
metric is a (sum, count) pair, added up over the micro-batches of an optimiser step, reduced once
over ranks, and divided at the end. `tiebreak.metrics.TRAINING` names them."""

from __future__ import annotations

import torch
from torch import Tensor

from tiebreak.engine.processes import total
from tiebreak.methods import Method, Pairs, Responses
from tiebreak.metrics import TRAINING

NAMES = tuple(metric.name for metric in TRAINING)
Sums = dict[str, tuple[Tensor, float]]


def observe(method: Method, pairs: Pairs, paired: bool) -> Sums:
    """(sum, count) of every metric that can be read off one micro-batch."""
    chosen_B, rejected_B = method.rewards(pairs)
    sums: Sums = {}
    for side, reward_B in (("chosen", chosen_B), ("rejected", rejected_B)):
        responses = getattr(pairs, side)
        if len(reward_B):
            sums[f"reward/{side}"] = of(reward_B)
            sums |= _side(side, responses)
    if paired:
        margin_B = chosen_B - rejected_B
        sums["reward/margin"] = of(margin_B)
        sums["reward/accuracy"] = of((margin_B > 0).float() + 0.5 * (margin_B == 0).float())
        if pairs.chosen.reference is not None and pairs.rejected.reference is not None:
            sums["drift/margin"] = of(pairs.chosen.drift() - pairs.rejected.drift())
    return sums


def _side(side: str, responses: Responses) -> Sums:
    sums: Sums = {f"logp/{side}": of(responses.logp())}
    sums[f"length/{side}"] = of(responses.length())
    if responses.reference is not None:
        drift_B = responses.drift()
        sums[f"drift/{side}"] = of(drift_B)
        sums[f"drift/{side}_per_token"] = of(drift_B / responses.length())
        if side == "chosen":
            sums["displaced/share"] = of((drift_B < 0).float())
    return sums


def of(values_B: Tensor) -> tuple[Tensor, float]:
    """(sum, count) of some values."""
    return values_B.detach().double().sum(), float(len(values_B))


def add(sums: Sums, more: Sums) -> None:
    """Add `more` to `sums` in place."""
    for name, (value, count) in more.items():
        assert name in NAMES, f"metric {name!r} is not in the table"
        old, seen = sums.get(name, (0.0, 0.0))
        sums[name] = (old + value, seen + count)


def means(sums: Sums) -> dict[str, float]:
    """name -> mean over all processes; every one must call."""
    flat = torch.zeros(len(NAMES), 2, dtype=torch.float64)
    for i, name in enumerate(NAMES):
        if name in sums:
            flat[i, 0], flat[i, 1] = float(sums[name][0]), sums[name][1]
    flat = total(flat)
    return {n: float(s / c) for n, (s, c) in zip(NAMES, flat, strict=True) if c > 0}
