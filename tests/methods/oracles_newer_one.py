"""Oracles: EXO, NCA, APO, BCO, SPPO, DiscoPOP, Cal-DPO, RPO, RePO, AlphaPO."""

from __future__ import annotations

from typing import Any

from cases import Case, log_sigmoid, positive_part, sigmoid
from mpmath import mp


def exo(x: Case, at: Case, beta: float, label_smoothing: float) -> list[Any]:
    policy = (sigmoid(beta * x.h), sigmoid(-beta * x.h))
    labels = (mp.mpf(1) - label_smoothing, mp.mpf(label_smoothing))
    return [mp.fsum(q * mp.log(q / p) for q, p in zip(policy, labels, strict=True))]


def nca(x: Case, at: Case, beta: float) -> list[Any]:
    chosen, rejected = beta * x.chosen.drift, beta * x.rejected.drift
    noise = (log_sigmoid(-chosen) + log_sigmoid(-rejected)) / 2
    return [-log_sigmoid(chosen) - noise]


def apo_zero(x: Case, at: Case, beta: float) -> list[Any]:
    return [1 - sigmoid(beta * x.chosen.drift) + sigmoid(beta * x.rejected.drift)]


def apo_down(x: Case, at: Case, beta: float) -> list[Any]:
    return [sigmoid(beta * x.chosen.drift) + 1 - sigmoid(beta * x.h)]


def bco(x: Case, at: Case, beta: float) -> list[Any]:
    delta = beta * (at.chosen.drift + at.rejected.drift) / 2  # the first batch: this pair alone
    return [
        -log_sigmoid(beta * x.chosen.drift - delta),
        -log_sigmoid(-(beta * x.rejected.drift - delta)),
    ]


def sppo(x: Case, at: Case, beta: float) -> list[Any]:
    eta = 1 / mp.mpf(beta)
    won, lost = eta * (1 - mp.mpf(0.5)), eta * (0 - mp.mpf(0.5))
    return [((x.chosen.drift - won) ** 2 + (x.rejected.drift - lost) ** 2) / 2]


def discopop(x: Case, at: Case, beta: float, tau: float) -> list[Any]:
    gate = sigmoid(beta * x.h / tau)
    return [(1 - gate) * mp.log(1 + mp.exp(-beta * x.h)) + gate * mp.exp(-beta * x.h)]


def cal_dpo(x: Case, at: Case, beta: float) -> list[Any]:
    target = 1 / (2 * mp.mpf(beta))
    calibration = (x.chosen.drift - target) ** 2 + (x.rejected.drift + target) ** 2
    return [-log_sigmoid(x.h) + calibration / 2]


def rpo(x: Case, at: Case, beta: float, eta: float, nll: str) -> list[Any]:
    weighted = {"sum": -eta * mp.mpf(beta) * x.chosen.logp, "response": -eta * x.chosen.mean_logp}
    return [-log_sigmoid(beta * x.h) + weighted[nll]]


def repo(x: Case, at: Case, gamma: float) -> list[Any]:
    return [positive_part(-(x.chosen.mean_logp - x.rejected.mean_logp - gamma))]


def alphapo(x: Case, at: Case, beta: float, gamma: float, alpha: float) -> list[Any]:
    def reward(side: Any) -> Any:
        p = mp.exp(side.mean_logp)
        return beta * (1 - p ** (-mp.mpf(alpha))) / alpha if alpha else beta * side.mean_logp

    return [-log_sigmoid(reward(x.chosen) - reward(x.rejected) - gamma)]


BETAS = [{"beta": 0.05}, {"beta": 0.5}]
ORACLES: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "exo": (exo, [{}, {"beta": 0.5, "label_smoothing": 0.1}]),
    "nca": (nca, [{}, *BETAS]),
    "apo-zero": (apo_zero, [{}, {"beta": 0.5}]),
    "apo-down": (apo_down, [{}, {"beta": 0.5}]),
    "bco": (bco, [{}, {"beta": 0.3}]),
    "sppo": (sppo, [{}, *BETAS]),
    "discopop": (discopop, [{}, {"beta": 0.1, "tau": 0.3}, {"tau": 1.0}]),
    "cal-dpo": (cal_dpo, [{}, *BETAS]),
    "rpo": (rpo, [{}, {"nll": "response", "eta": 0.2, "beta": 0.5}, {"eta": 0.0}]),
    "repo": (repo, [{}, {"gamma": 0.25}, {"gamma": 0.0}]),
    "alphapo": (
        alphapo,
        [{}, {"alpha": -0.5, "gamma": 1.0}, {"alpha": 0.0}, {"alpha": 1.0, "beta": 0.7}],
    ),
}
