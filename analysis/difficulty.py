"""Win rates with length held equal and the instruction's difficulty left as it is, for several
models that were judged on the same questions.

AlpacaEval 2's regression (Dubois et al. 2024, arXiv:2404.04475) is

    logit P(model m preferred on x) = theta_m + phi_m * tanh(length) + psi_m * gamma_x

with gamma_x the difficulty of the instruction, all of it relative to the baseline. Its length-
controlled win rate is the mean over x of that chance with the length term at 0. There, gamma_x was
estimated first, from more than a hundred models, and put into each model's regression. With the few
models of a study such an estimate is mostly noise, and a term that is measured with noise does not
take away what it should: where answers to hard questions are longer, points of bias are left
(benchmarks/length_control.py counts them). So gamma_x is no estimate here but a normal random
effect, whose mean is delta * (mean length term of x over the models), which lets it go with length
(Mundlak 1978); all models are fitted together by maximum marginal likelihood, as in item response
theory (Bock and Aitkin 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from tiebreak_analysis.win_rates import PRIOR, Array

MODELS = 3
"""With fewer, what is difficulty and what is a model's own cannot be told apart."""
CALLS = 2  # behind the preference of a question: one for each order
# Quadrature over the normal difficulty: equal steps, exact for what is as smooth as a normal of a
# standard deviation of 0.2 or more.
_NODES = np.arange(-4.0, 4.01, 0.25)
_LOG_WEIGHTS = -(_NODES**2) / 2 - np.log(np.exp(-(_NODES**2) / 2).sum())


@dataclass(frozen=True, eq=False)
class Joint:
    """Rates of models (M,) had both answers been equally long. items (M, n): per question, such
    that their mean is the rate and their spread its standard error; NaN: not judged."""

    rates: Array
    items: Array
    slopes: Array
    """psi (M,): how much the difficulty of an instruction counts for each model."""


def joint(wins: Array, terms: Array) -> Joint:
    """wins (M, n): preference for each model's answer to each question, NaN: not judged. terms
    (M, n): its length term (`win_rates.length_term`). ValueError: fewer than `MODELS` models, a
    model that was judged nowhere, or a question that was."""
    judged = np.isfinite(wins)
    if len(wins) < MODELS:
        raise ValueError(f"{len(wins)} models; the difficulty of instructions takes {MODELS}")
    if not judged.any(1).all() or not judged.any(0).all():
        raise ValueError("each model needs a judged question, and each question a judged model")
    fit = _Fit(np.where(judged, wins, 0.0), np.where(judged, terms, 0.0), CALLS * judged)
    found = fit.maximum()
    return fit.rates(found, judged)


class _Parts(NamedTuple):
    """Parameters: theta, phi, psi (M,) and delta."""

    theta: Array
    phi: Array
    psi: Array
    delta: float


class _At(NamedTuple):
    """What is known at some parameters (P,): the penalised log-likelihood, its slope by question
    (n, P) without the prior, and its curvature (P, P), which is negative at a maximum."""

    value: float
    scores: Array
    curvature: Array


class _Fit:
    """counts (M, n): calls behind each preference, 0: none."""

    def __init__(self, wins: Array, terms: Array, counts: Array) -> None:
        self.y, self.t, self.counts = wins, terms, np.asarray(counts, float)
        seen = self.counts.sum(0)
        self.shared = (self.counts * terms).sum(0) / seen  # mean length term of a question
        self.shared = self.shared - self.shared.mean()
        self.models = len(wins)

    def parts(self, at: Array) -> _Parts:
        return _Parts(*np.split(at[:-1], 3), delta=float(at[-1]))

    def scores_of(self, at: Array) -> tuple[Array, Array]:
        """(logits (M, n, Q), difficulty (n, Q)) at each node."""
        parts = self.parts(at)
        hard = parts.delta * self.shared[:, None] + _NODES
        plain = parts.theta[:, None] + parts.phi[:, None] * self.t
        return plain[:, :, None] + parts.psi[:, None, None] * hard, hard

    def at(self, at: Array) -> _At:
        """Curvature by Louis (1982): that of the complete data, and the variance of its slope."""
        logits, hard = self.scores_of(at)
        counts, y = self.counts[:, :, None], self.y[:, :, None]
        inside = (counts * (y * logits - np.logaddexp(0, logits))).sum(0) + _LOG_WEIGHTS
        highest = inside.max(1, keepdims=True)
        chance = np.exp(inside - highest)
        total = chance.sum(1, keepdims=True)
        chance /= total  # of each node, given what the judge said
        fitted = expit(logits)
        left = counts * (y - fitted)
        slopes = self._slopes(left, hard, at)
        scores = np.einsum("nq,nqp->np", chance, slopes)
        flat = slopes.reshape(-1, slopes.shape[2])
        spread = flat.T @ (chance.reshape(-1, 1) * flat) - scores.T @ scores
        curvature = spread + self._complete(chance, counts * fitted * (1 - fitted), left, hard, at)
        value = float((np.log(total) + highest).sum() - at @ at / (2 * PRIOR**2))
        return _At(value, scores, curvature - np.eye(len(at)) / PRIOR**2)

    def _slopes(self, left: Array, hard: Array, at: Array) -> Array:
        """(n, Q, P) of the complete log-likelihood, at each node."""
        of_delta = np.tensordot(self.parts(at).psi, left, 1) * self.shared[:, None]
        of_models = [left, left * self.t[:, :, None], left * hard]
        return np.concatenate([np.moveaxis(np.concatenate(of_models), 0, -1),
                               of_delta[:, :, None]], axis=2)  # fmt: skip

    def _complete(self, chance: Array, bent: Array, left: Array, hard: Array, at: Array) -> Array:
        """(P, P): mean curvature of the complete log-likelihood."""
        found, ones = np.zeros((len(at), len(at))), np.ones_like(hard)
        for m, slope in enumerate(self.parts(at).psi):
            places = [m, self.models + m, 2 * self.models + m, len(at) - 1]
            own = [ones, self.t[m][:, None] * ones, hard, slope * self.shared[:, None] * ones]
            design = np.stack([one.ravel() for one in own])
            found[np.ix_(places, places)] -= (design * (chance * bent[m]).ravel()) @ design.T
            mixed = float((chance * left[m] * self.shared[:, None]).sum())
            found[places[2], places[3]] += mixed
            found[places[3], places[2]] += mixed
        return found

    def maximum(self) -> Array:
        """Parameters (P,) by Newton's method with halved steps; where the likelihood is not convex,
        along the outer product of the slopes (Berndt, Hall, Hall and Hausman 1974)."""
        at = np.zeros(3 * self.models + 1)
        at[2 * self.models : -1] = 0.5
        here = self.at(at)
        for _ in range(200):
            slope = here.scores.sum(0) - at / PRIOR**2
            step = np.linalg.solve(_positive(here), slope)
            size, there = 1.0, self.at(at + step)
            while not there.value >= here.value and size > 1e-6:
                size /= 2
                there = self.at(at + size * step)
            at, here = at + size * step, there
            if float(np.abs(size * step).max()) < 1e-8:
                break
        return at

    def rates(self, at: Array, judged: Array) -> Joint:
        """At the length term 0, over the difficulties of these questions; each question with its
        influence on the rate."""
        parts, n = self.parts(at), self.y.shape[1]
        hard = parts.delta * self.shared[:, None] + _NODES
        level = expit(parts.theta[:, None, None] + parts.psi[:, None, None] * hard)
        bent, weight, here = level * (1 - level), np.exp(_LOG_WEIGHTS), self.at(at)
        moved = np.linalg.solve(_positive(here), here.scores.T)  # (P, n)
        by_question, items = (level * weight).sum(2), np.empty_like(self.y)
        for m in range(self.models):
            of_shared = (bent[m] * weight).sum(1) * self.shared
            slope = np.zeros(len(at))
            slope[m] = (bent[m] * weight).sum(1).mean()
            slope[2 * self.models + m] = (bent[m] * hard * weight).sum(1).mean()
            slope[-1] = parts.psi[m] * of_shared.mean()
            items[m] = by_question[m] + n * (slope @ moved)
        rates = by_question.mean(1)
        items = np.where(judged, items, np.nan)
        items += (rates - np.nanmean(items, axis=1))[:, None]
        return Joint(rates, items, parts.psi)


def _positive(here: _At) -> Array:
    """The curvature turned round, where that is positive; else the outer product of the slopes."""
    bent = -here.curvature
    if np.linalg.eigvalsh(bent)[0] > 0:
        return bent
    return here.scores.T @ here.scores + np.eye(len(bent)) / PRIOR**2
