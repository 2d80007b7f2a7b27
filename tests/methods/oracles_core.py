"""Oracles: SFT, DPOP, SLiC-HF, RSO, SPIN, ORPO, R-DPO, RRHF, cDPO, robust DPO, with settings."""

from __future__ import annotations

from typing import Any

from cases import Case, log_sigmoid, positive_part
from mpmath import mp


def sft(x: Case, at: Case) -> list[Any]:
    return [-x.chosen.mean_logp]


def dpop(x: Case, at: Case, beta: float, penalty_weight: float, version: str) -> list[Any]:
    reference = mp.fsum(x.chosen.reference)
    penalty = penalty_weight * positive_part(reference - x.chosen.logp)
    if version == "v1":
        return [-(log_sigmoid(beta * x.h) - penalty)]
    return [-log_sigmoid(beta * x.h - beta * penalty)]


def slic(x: Case, at: Case, delta: float, regulariser_weight: float) -> list[Any]:
    calibration = positive_part(delta - x.chosen.logp + x.rejected.logp)
    return [calibration + regulariser_weight * -x.chosen.logp]


def rso(x: Case, at: Case, gamma: float) -> list[Any]:
    return [positive_part(1 - (gamma * x.chosen.drift - gamma * x.rejected.drift))]


def spin(x: Case, at: Case, beta: float) -> list[Any]:
    return [mp.log1p(mp.exp(-(beta * x.chosen.drift - beta * x.rejected.drift)))]


def orpo(x: Case, at: Case, odds_ratio_weight: float, nll: str) -> list[Any]:
    def odds(mean_logp: Any) -> Any:
        return mp.exp(mean_logp) / (1 - mp.exp(mean_logp))

    # With one pair in the batch its tokens are those of the batch.
    tokens = x.chosen.policy if nll == "response" else [*x.prompt, *x.chosen.policy]
    ratio = odds(x.chosen.mean_logp) / odds(x.rejected.mean_logp)
    return [-mp.fsum(tokens) / len(tokens) - odds_ratio_weight * log_sigmoid(mp.log(ratio))]


def rdpo(x: Case, at: Case, beta: float, alpha: float) -> list[Any]:
    rewards = [beta * side.drift + alpha * side.length for side in (x.chosen, x.rejected)]
    return [-log_sigmoid(rewards[0] - rewards[1])]


def rrhf(
    x: Case, at: Case, rank_weight: float, length_penalty: float, nll: str, k: int
) -> list[Any]:
    better, worse = (s.logp / s.length**length_penalty for s in (x.chosen, x.rejected))
    best = x.chosen.logp if nll == "sum" else x.chosen.mean_logp
    return [rank_weight * positive_part(worse - better) - best]


def cdpo(x: Case, at: Case, beta: float, label_smoothing: float) -> list[Any]:
    as_labelled, flipped = -log_sigmoid(beta * x.h), -log_sigmoid(-beta * x.h)
    return [as_labelled + label_smoothing * (flipped - as_labelled)]


def robust(x: Case, at: Case, beta: float, label_smoothing: float) -> list[Any]:
    as_labelled, flipped = -log_sigmoid(beta * x.h), -log_sigmoid(-beta * x.h)
    kept = 1 - label_smoothing
    return [(kept * as_labelled - label_smoothing * flipped) / (kept - label_smoothing)]


ORACLES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "sft": (sft, [{}]),
    "dpop": (dpop, [{"version": v, **s} for v in ("v2", "v1")
                    for s in ({}, {"beta": 0.1, "penalty_weight": 0.7})]),
    "slic": (slic, [{}, {"delta": 0.35, "regulariser_weight": 1.0}]),
    "rso": (rso, [{}, {"gamma": 0.3}]),
    "spin": (spin, [{}, {"beta": 5.0}]),
    "orpo": (orpo, [{"nll": n, "odds_ratio_weight": w} for n in ("sequence", "response", "batch")
                    for w in (0.1, 2.0)]),
    "rdpo": (rdpo, [{}, {"beta": 0.05, "alpha": 0.5}]),
    "rrhf": (rrhf, [{}, {"nll": "sum"}, {"rank_weight": 10.0, "length_penalty": 0.0},
                    {"length_penalty": 1.5}]),
    "cdpo": (cdpo, [{}, {"beta": 0.5, "label_smoothing": 0.0}, {"label_smoothing": 0.45}]),
    "robust": (robust, [{}, {"beta": 0.5, "label_smoothing": 0.0}, {"label_smoothing": 0.45}]),
}  # fmt: skip
