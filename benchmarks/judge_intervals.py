"""How often the interval of a judged win rate holds the rate that people would have given.

    python benchmarks/judge_intervals.py [--simulations 1000] [--json]

One simulation: people prefer the model's answer to a question with a chance that is the true win
rate; a judge prefers it in either order with another chance, higher where people do, different for
each question, and shifted by an amount of its own in each session (--shift, in logits). One session
judges the questions, one the pairs that people have labelled, and further ones judge some questions
again: of this model alone (1 session), or of other models and evaluators too, which is what a table
pools (4 and 13 sessions; four methods with three seeds each and their start model are 13).
Counted are the intervals that hold the truth: of the plain win rate, of the corrected one, and of
the corrected one with the judge's repeatability. docs/judges.md shows what this prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak_analysis.win_rates import (  # noqa: E402
    Calibration,
    Repeatability,
    corrected,
    repeatability,
    win_rate,
)

SESSIONS = (1, 4, 13)
KINDS = (
    "plain win rate",
    "corrected",
    *(f"repeated, {n} session{'s' * (n > 1)}" for n in SESSIONS),
)


@dataclass(frozen=True)
class World:
    """A judge and its samples. right: mean chance to side with people where they prefer the model,
    and where they do not. shift: standard deviation of a session, in logits."""

    truth: float
    right: tuple[float, float]
    questions: int = 805
    labelled: int = 500
    again: int = 200
    shift: float = 0.1
    spread: float = 1.5

    def people(self, number: int, draw: np.random.Generator, share: float) -> np.ndarray:
        return (draw.random(number) < share).astype(float)

    def chances(self, people: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Of each question, in logits, that the judge prefers the model's answer."""
        mean = np.where(people == 1, self.right[0], 1 - self.right[1])
        return logit(mean) + self.spread * draw.standard_normal(len(people))

    def session(self, chances: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Of each question, the mean of both orders."""
        moved = chances + self.shift * draw.standard_normal()
        return draw.binomial(2, expit(moved)) / 2

    def beside(self, draw: np.random.Generator) -> Repeatability:
        """Of another model that the same judge has judged, with any win rate."""
        chances = self.chances(self.people(self.again, draw, draw.uniform(0.2, 0.8)), draw)
        return repeatability(self.session(chances, draw), self.session(chances, draw))


def ends(world: World, draw: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Both ends of each kind of interval, in one simulation."""
    chances = world.chances(world.people(world.questions, draw, world.truth), draw)
    judged = world.session(chances, draw)
    labels = world.people(world.labelled, draw, 0.5)
    found = Calibration.of(world.session(world.chances(labels, draw), draw), labels)
    some = slice(0, world.again)
    again = [repeatability(judged[some], world.session(chances[some], draw))]
    again += [world.beside(draw) for _ in range(max(SESSIONS) - 1)]
    rate = win_rate(judged)
    plain = rate.interval()
    assert plain is not None
    with_again = [corrected(rate, found, Repeatability.pooled(again[:n])) for n in SESSIONS]
    others = [(one.low, one.high) for one in (corrected(rate, found), *with_again)]
    return dict(zip(KINDS, (plain, *others), strict=True))


WORLDS = {
    "usual judge, model behind": World(0.3, (0.8, 0.75)),
    "usual judge, model ahead": World(0.65, (0.8, 0.75)),
    "good judge, even": World(0.5, (0.92, 0.9)),
    "weak judge, few labels": World(0.4, (0.7, 0.65), labelled=200, again=100),
    "judge that moves 3 points": World(0.4, (0.8, 0.75), shift=0.15),
    "judge that moves 5 points": World(0.4, (0.8, 0.75), shift=0.25),
    "judge that does not move": World(0.4, (0.8, 0.75), shift=0.0),
}


def coverage(world: World, simulations: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Kind of interval -> share of simulations in which it holds the truth, and its mean width."""
    draw = np.random.default_rng(seed)
    found = [ends(world, draw) for _ in range(simulations)]
    both = {kind: np.array([one[kind] for one in found]) for kind in KINDS}
    return {
        kind: (float(np.mean((low <= world.truth) & (world.truth <= high))),
               float(np.mean(high - low)))
        for kind, (low, high) in ((kind, array.T) for kind, array in both.items())
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = {name: coverage(world, options.simulations) for name, world in WORLDS.items()}
    if options.json:
        print(json.dumps({name: {**asdict(WORLDS[name]), **f} for name, f in found.items()}))
        return 0
    print(
        f"share of {options.simulations} simulations whose 95 % interval holds the truth "
        "(mean width)"
    )
    print(f"| {'world':26} | {' | '.join(KINDS)} |")
    for name, shares in found.items():
        cells = ("{:.3f} ({:.2f})".format(*shares[kind]).rjust(len(kind)) for kind in KINDS)
        print(f"| {name:26} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
