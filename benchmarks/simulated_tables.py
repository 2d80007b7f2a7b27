"""Tables of one method against itself: values for every column, drawn from runs or from a model.

Axes: C scenarios, M methods (all the same one, under M names), S seeds, I items.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tiebreak.errors import UserError
from tiebreak.track.record_format import (
    PAIRS,
    evaluation_folder,
    finished_evaluations,
    items_file,
)
from tiebreak_analysis.statistics import crossed

if TYPE_CHECKING:
    import pandas as pd

REWARD, WIN, ACCURACY = COLUMNS = ("gold/reward", "win_rate/start", "accuracy/likelihood")


@dataclass(frozen=True)
class Shape:
    """How large a table is."""

    scenarios: int = 3
    methods: int = 4
    seeds: int = 5
    items: int = 256


class Source(Protocol):
    """Where tables come from."""

    def draw(self, rng: np.random.Generator, shape: Shape) -> dict[str, np.ndarray]:
        """Column -> values (scenarios, methods, seeds, items) of one table without differences."""
        ...


@dataclass(frozen=True)
class Model:
    """Variance components, and tables drawn from them.

    The defaults are those of fifteen runs of `arizona-mini`'s size (sft-then-align; DPO, IPO, KTO,
    CPO and SimPO; 3 seeds; 256 prompts), averaged over the methods. Win: the reward is above the
    start model's answer. Accuracy: a probit whose items are nearly all settled, so that its own
    components come out near what the runs had: items 0.11, rest 0.024, seeds below 0.0001.
    """

    seed: float = 0.00036
    item: float = 0.014
    shared: float = 0.007  # of a seed and item, in all methods: the same sampling noise
    rest: float = 0.025
    start: float = 0.04  # of the start model's answer to an item
    gain: float = 0.165
    gain_item: float = 0.017
    settled: float = 0.97  # of the probit's variance
    pair_seed: float = 0.0005

    def draw(self, rng: np.random.Generator, shape: Shape) -> dict[str, np.ndarray]:
        seeds = (shape.scenarios, shape.methods, shape.seeds, 1)
        items = (shape.scenarios, 1, 1, shape.items)
        both = (shape.scenarios, 1, shape.seeds, shape.items)
        all_four = (shape.scenarios, shape.methods, shape.seeds, shape.items)

        def normal(variance: float, size: tuple[int, ...]) -> np.ndarray:
            return rng.normal(0, variance**0.5, size)

        level = normal(self.item, items)
        before = 0.588 + level + normal(self.gain_item, items) + normal(self.start, both)
        after = 0.588 + self.gain + level + normal(self.seed, seeds)
        after = after + normal(self.shared, both) + normal(self.rest, all_four)
        pairs = 0.97 + normal(self.settled, items) + normal(self.pair_seed, seeds)
        pairs = pairs + normal(1 - self.settled, all_four)
        return {
            REWARD: after,
            WIN: (after > before).astype(float),
            ACCURACY: (pairs > 0).astype(float),
        }


@dataclass(frozen=True)
class Answers:
    """What K runs of one method in one scenario gave, and how far seeds spread there."""

    reward_KI: np.ndarray
    win_KI: np.ndarray
    correct_KJ: np.ndarray
    reward_seed_variance: float
    correct_seed_variance: float


@dataclass(frozen=True)
class Recorded:
    """Tables resampled from real runs.

    Items are drawn with replacement. Each method and seed then takes, item by item, the answer of
    one of the K runs, so that an item keeps its spread over runs. What a seed moves as a whole is
    put back by a tilt: run k is taken with weight exp(t value_k), t normal with the variance that
    gives the seed variance measured over all methods of the scenario. Drawing whole runs would not
    do: of three runs, equal draws look like perfect agreement between seeds.
    """

    scenarios: tuple[Answers, ...]
    """The one whose seeds differ most comes first: a gap is put there, where it is hardest seen."""

    def draw(self, rng: np.random.Generator, shape: Shape) -> dict[str, np.ndarray]:
        columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        for at in range(shape.scenarios):
            answers = self.scenarios[at % len(self.scenarios)]
            of = _taken(rng, shape, answers.reward_KI, answers.reward_seed_variance)
            columns[REWARD].append(answers.reward_KI[of])
            columns[WIN].append(answers.win_KI[of])
            of = _taken(rng, shape, answers.correct_KJ, answers.correct_seed_variance)
            columns[ACCURACY].append(answers.correct_KJ[of])
        return {name: np.stack(values) for name, values in columns.items()}


def _taken(
    rng: np.random.Generator, shape: Shape, values_KI: np.ndarray, seed_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Run and item (methods, seeds, items) of every answer taken."""
    inside = float(values_KI.var(0).mean())
    tilt = seed_variance**0.5 / inside if inside else 0.0
    items_I = rng.integers(values_KI.shape[1], size=shape.items)
    moved_MS = rng.normal(0, tilt, (shape.methods, shape.seeds, 1, 1))
    weight = np.exp(moved_MS * (values_KI - values_KI.mean(0))[:, items_I]).cumsum(-2)
    at = rng.random((shape.methods, shape.seeds, 1, shape.items)) * weight[:, :, -1:]
    run = (weight < at).sum(-2)
    return run, np.broadcast_to(items_I, run.shape)


def read(folder: Path, method: str | None = None) -> Recorded:
    """The runs of one method in every scenario of `folder`, a runs folder.

    `method` None: the one with the most seeds where it has fewest. UserError: none has two seeds.
    """
    found = _by_method(folder)
    scenarios = sorted({scenario for scenario, _ in found})
    methods = sorted({name for _, name in found})
    fewest = {
        name: min(len(found.get((scenario, name), ())) for scenario in scenarios)
        for name in methods
    }
    chosen = method or max(methods, key=lambda name: fewest[name], default="")
    if fewest.get(chosen, 0) < 2:
        raise UserError(
            f"--runs {folder}: no method has finished runs of two seeds in each scenario, all with "
            f"{items_file('gold')}; found: {fewest or 'no runs'}"
        )
    answers = [_answers(found, scenario, chosen) for scenario in scenarios]
    return Recorded(tuple(sorted(answers, key=lambda one: -one.reward_seed_variance)))


def _by_method(folder: Path) -> dict[tuple[str, str], list[pd.DataFrame]]:
    """(scenario, method) -> per run its items, those of the largest group of runs alone.

    A group is of runs measured in the same way, so that no run is in it twice.
    """
    import pandas as pd

    groups: dict[tuple[str, str, str], list[pd.DataFrame]] = defaultdict(list)
    for evaluation in _evaluations(folder):
        manifest = json.loads((evaluation.parents[1] / "manifest.json").read_text())
        names = manifest["names"]
        gold = pd.read_parquet(evaluation / items_file("gold"))[["reward/after", "win"]]
        pairs = pd.read_parquet(evaluation / PAIRS)[["correct/after"]].astype(float)
        frame = pd.concat([gold, pairs], axis=1)
        group = f"{manifest['group_id']} {evaluation.name}"
        groups[names["scenario"], names["method"], group].append(frame)
    largest: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (scenario, method, _), frames in sorted(groups.items()):
        if len(frames) > len(largest.get((scenario, method), ())):
            largest[scenario, method] = frames
    return largest


def _evaluations(folder: Path) -> list[Path]:
    """Folders of finished evaluations that have a true reward, by run."""
    ends = (
        evaluation_folder(run, name)
        for run in sorted(folder.glob("*"))
        for name in finished_evaluations(run)
    )
    return [end for end in ends if (end / items_file("gold")).is_file()]


def _answers(
    found: Mapping[tuple[str, str], list[pd.DataFrame]], scenario: str, method: str
) -> Answers:
    def table(frames: list[pd.DataFrame], column: str) -> np.ndarray:
        return np.stack([frame[column].dropna().to_numpy(float) for frame in frames])

    def seed_variance(column: str) -> float:
        squares = [
            crossed(table(frames, column))
            for (where, _), frames in sorted(found.items())
            if where == scenario and len(frames) > 1
        ]
        each = [float((c.of_seeds - c.of_rest) / c.num_items) for c in squares]
        return max(0.0, sum(each) / len(each))

    frames = found[scenario, method]
    return Answers(
        table(frames, "reward/after"),
        table(frames, "win"),
        table(frames, "correct/after"),
        seed_variance("reward/after"),
        seed_variance("correct/after"),
    )
