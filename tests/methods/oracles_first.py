"""Oracles: DPO, IPO, KTO, CPO, SimPO. Each with the settings it is tried at."""

from __future__ import annotations

from typing import Any

from cases import Case, log_sigmoid, positive_part, sigmoid


def dpo(x: Case, at: Case, beta: float) -> list[Any]:
    return [-log_sigmoid(beta * x.h)]


def ipo(x: Case, at: Case, tau: float, reduction: str) -> list[Any]:
    h = x.h if reduction == "sum" else x.chosen.mean_drift - x.rejected.mean_drift
    return [(h - 1 / (2 * tau)) ** 2]


def kto(
    x: Case, at: Case, beta: float, desirable_weight: float, undesirable_weight: float
) -> list[Any]:
    z0 = positive_part(at.mismatched.drift)
    return [
        desirable_weight * (1 - sigmoid(beta * (x.chosen.drift - z0))),
        undesirable_weight * (1 - sigmoid(beta * (z0 - x.rejected.drift))),
    ]


def cpo(x: Case, at: Case, beta: float, alpha: float, nll: str) -> list[Any]:
    # With one pair in the batch both kinds of mean are over the chosen tokens.
    preference = -log_sigmoid(beta * (x.chosen.logp - x.rejected.logp))
    return [preference - alpha * (x.chosen.logp if nll == "sum" else x.chosen.mean_logp)]


def simpo(x: Case, at: Case, beta: float, gamma: float) -> list[Any]:
    return [-log_sigmoid(beta * (x.chosen.mean_logp - x.rejected.mean_logp) - gamma)]


ORACLES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "dpo": (dpo, [{"beta": 0.01}, {"beta": 0.1}, {"beta": 2.0}]),
    "ipo": (ipo, [{"tau": t, "reduction": r} for t in (0.1, 1.0) for r in ("mean", "sum")]),
    "kto": (kto, [{"beta": 0.2}, {"desirable_weight": 1.3, "undesirable_weight": 0.7}]),
    "cpo": (
        cpo,
        [{"nll": n, "alpha": a} for n in ("response", "batch", "sum") for a in (0.0, 0.3)],
    ),
    "simpo": (simpo, [{}, {"beta": 10.0, "gamma": 0.3}]),
}
