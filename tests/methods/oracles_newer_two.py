"""Oracles: TDPO1, TDPO2, WPO, LD-DPO, DPO-norm, beta-DPO, TR-DPO, and the settings they meet."""

from __future__ import annotations

from typing import Any

from cases import Case, Side, log_sigmoid
from mpmath import mp, mpf


def tdpo1(x: Case, at: Case, beta: float) -> list[Any]:
    chosen_value = x.chosen.drift + x.chosen.total_kl
    rejected_value = x.rejected.drift + x.rejected.total_kl
    return [-log_sigmoid(beta * (chosen_value - rejected_value))]


def tdpo2(x: Case, at: Case, beta: float, alpha: float) -> list[Any]:
    delta = x.rejected.total_kl - at.chosen.total_kl
    return [-log_sigmoid(beta * x.h - alpha * beta * delta)]


def wpo(x: Case, at: Case, beta: float) -> list[Any]:
    def weight(side: Side) -> Any:
        """Geometric mean over the tokens of p(token) / sum of squares."""
        product = mp.fprod(
            mp.exp(p) / mp.exp(c) for p, c in zip(side.policy, side.collision, strict=True)
        )
        return product ** (mpf(1) / side.length)

    w = min(mpf(1), weight(at.chosen) * weight(at.rejected))
    return [-w * log_sigmoid(beta * x.h)]


def ld_dpo(x: Case, at: Case, beta: float, alpha: float) -> list[Any]:
    common = min(x.chosen.length, x.rejected.length)

    def reward(side: Side) -> Any:
        drifts = [p - r for p, r in zip(side.policy, side.reference, strict=True)]
        return beta * (mp.fsum(drifts[:common]) + alpha * mp.fsum(drifts[common:]))

    return [-log_sigmoid(reward(x.chosen) - reward(x.rejected))]


def dpo_norm(x: Case, at: Case, beta: float) -> list[Any]:
    per_token = x.chosen.drift / x.chosen.length - x.rejected.drift / x.rejected.length
    return [-log_sigmoid(beta * per_token)]


def beta_dpo(
    x: Case, at: Case, beta: float, alpha: float, rho: float, momentum: float
) -> list[Any]:
    # A lone pair is kept whatever rho is; its mean gap is its own, M0 the first moving average.
    m0 = momentum * 0 + (1 - momentum) * at.h
    used = max(beta * (1 + alpha * (at.h - m0)), mpf("0.001"))
    return [-log_sigmoid(used * x.h)]


def tr_dpo(x: Case, at: Case, beta: float, mixing: float, sync_every: int) -> list[Any]:
    return [-log_sigmoid(beta * x.h)]


ORACLES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "tdpo1": (tdpo1, [{}, {"beta": 1.0}]),
    "tdpo2": (tdpo2, [{}, {"beta": 0.5, "alpha": 0.0}, {"beta": 0.5, "alpha": 1.5}]),
    "wpo": (wpo, [{}, {"beta": 0.5}]),
    "ld-dpo": (ld_dpo, [{}, {"alpha": 0.0, "beta": 0.3}, {"alpha": 1.0}]),
    "dpo-norm": (dpo_norm, [{}, {"beta": 0.5}]),
    "beta-dpo": (
        beta_dpo,
        [
            {},
            {"alpha": 0.0},
            {"beta": 0.5, "alpha": 0.1, "momentum": 0.5},
            {"rho": 0.9, "momentum": 0.0},
        ],
    ),
    "tr-dpo": (tr_dpo, [{}, {"beta": 0.5, "mixing": 1.0, "sync_every": 8}]),
}
