"""How far a length-controlled win rate is from the truth where hard questions have longer answers.

    python benchmarks/length_control.py [--simulations 40] [--questions 805] [--json]

One simulation: instructions differ in difficulty, the more so for some models; answers to hard ones
are longer; a judge likes long answers, and is asked in both orders. The truth is the mean chance of
a win on these questions had both answers been equally long. Compared are the raw win rate, the
regression on length alone, AlpacaEval's two steps with the models at hand (difficulties first, then
a regression for each model), and the joint fit (analysis/difficulty.py), with how often its 95 %
interval over questions holds the rate on all questions that could have been drawn. docs/judges.md
shows what this prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak_analysis.difficulty import joint  # noqa: E402
from tiebreak_analysis.win_rates import controlled  # noqa: E402

MODELS = (3, 6, 13)
WAYS = ("raw", "length alone", "two steps", "joint")


@dataclass(frozen=True)
class Judged:
    """wins, terms (models, questions); truth (models,): the rates at equal length on these
    questions; of_all (models,): on all that could have been drawn."""

    wins: np.ndarray
    terms: np.ndarray
    truth: np.ndarray
    of_all: np.ndarray


def drawn(
    number: int,
    questions: int,
    draw: np.random.Generator,
    longer: float = 0.5,
    models: np.random.Generator | None = None,
) -> Judged:
    """longer: how much longer answers to hard questions are. models: draws what the models are."""
    of = models or draw
    hard, baseline = draw.standard_normal(questions), draw.normal(0, 0.5, questions)
    quality, taste = of.normal(-0.5, 0.6, (number, 1)), of.normal(1.2, 0.3, (number, 1))
    slope, length = of.uniform(0.5, 1.6, (number, 1)), of.normal(0.5, 0.4, (number, 1))
    noise = draw.normal(0, 0.7, (number, questions))
    terms = np.tanh(length + longer * hard - baseline + noise)
    logits = quality + slope * hard
    wins = draw.binomial(2, expit(logits + taste * terms)) / 2
    node, weight = np.polynomial.hermite_e.hermegauss(41)
    of_all = expit(quality + slope * node) @ weight / weight.sum()
    return Judged(wins, terms, expit(logits).mean(1), of_all)


def two_steps(wins: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(models,): difficulties from all models, each with the same slope and pulled to 0 by one
    standard deviation, then a regression for each model with them as they are."""
    number, questions = wins.shape
    hard = np.zeros(questions)
    own = np.zeros((number, 2))
    for _ in range(50):  # by turns: each step is a convex problem
        for m in range(number):
            own[m] += _newton(wins[m], np.stack([np.ones(questions), terms[m]]), own[m], hard)
        fitted = expit(own[:, :1] + own[:, 1:] * terms + hard)
        step = ((wins - fitted).sum(0) - hard) / ((fitted * (1 - fitted)).sum(0) + 1)
        hard += step
        if float(np.abs(step).max()) < 1e-6:
            break
    return np.array([controlled(*one, hard).rate.value for one in zip(wins, terms, strict=True)])


def _newton(y: np.ndarray, design: np.ndarray, at: np.ndarray, offset: np.ndarray) -> np.ndarray:
    fitted = expit(at @ design + offset)
    information = (design * (fitted * (1 - fitted))) @ design.T + 0.01 * np.eye(len(at))
    return np.linalg.solve(information, design @ (y - fitted) - 0.01 * at)


def errors(number: int, questions: int, simulations: int) -> dict[str, dict[str, float]]:
    """Way -> mean error, root mean square error (points), and of the joint fit the coverage."""
    found: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    held: list[np.ndarray] = []
    for seed in range(simulations):
        world = drawn(number, questions, np.random.default_rng(seed))
        both = list(zip(world.wins, world.terms, strict=True))
        fit = joint(world.wins, world.terms)
        rates = (world.wins.mean(1), np.array([controlled(*one).rate.value for one in both]),
                 two_steps(world.wins, world.terms), fit.rates)  # fmt: skip
        for way, rate in zip(WAYS, rates, strict=True):
            found[way].append(100 * (rate - world.truth))
        error = fit.items.std(1, ddof=1) / np.sqrt(questions)
        held.append(np.abs(fit.rates - world.of_all) < 1.96 * error)
    told = {way: {"bias": float(np.mean(apart)), "rms": float(np.sqrt(np.mean(np.square(apart))))}
            for way, apart in found.items()}  # fmt: skip
    told["joint"]["coverage"] = float(np.mean(held))
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=int, default=40)
    parser.add_argument("--questions", type=int, default=805)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = {n: errors(n, options.questions, options.simulations) for n in MODELS}
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"points off the truth: mean (root mean square), {options.questions} questions")
    print(f"| models | {' | '.join(WAYS)} | coverage of joint |")
    for n, told in found.items():
        cells = (f"{told[way]['bias']:+.1f} ({told[way]['rms']:.1f})" for way in WAYS)
        print(f"| {n:6} | {' | '.join(cells)} | {told['joint']['coverage']:.3f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
