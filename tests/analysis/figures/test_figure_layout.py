"""Every kind of figure, as a reader sees it: nothing overlaps, nothing is cut off, all is told."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from made_frames import (
    METHODS,
    accuracies,
    categories,
    history,
    pairs,
    profiles,
    settings,
    sizes,
)  # fmt: skip
from matplotlib.figure import Figure
from printed_text import collisions, pieces

from tiebreak_analysis.displacement import compare, tidy
from tiebreak_analysis.figures.categories import displaced, dots, radar
from tiebreak_analysis.figures.curves import curves, data_size, token_profile
from tiebreak_analysis.figures.frontier import accuracy, frontier
from tiebreak_analysis.statistics import Interval

START = Interval(0.435, 0.41, 0.46, 3)
CURVES = ["loss", "drift/chosen", "drift/rejected", "displaced/share"]


def buckets() -> pd.DataFrame:
    falls = {"dpo": 0.08, "dpop": -0.1, "cpo": 0.01}
    runs = {name: [f"{name}{seed}" for seed in range(3)] for name in falls}
    frames = [
        pairs(run_id, falls[name], num_pairs=200, near=4, seed=seed)
        for name, ids in runs.items()
        for seed, run_id in enumerate(ids)
    ]
    return tidy(compare(pd.concat(frames), runs))


KINDS: dict[str, tuple[Callable[[], Figure], float, tuple[str, ...]]] = {
    "curves": (lambda: curves(history(), CURVES, block=20), 6.8, METHODS),
    "one curve": (lambda: curves(history(num_runs=1), ["loss"], block=20), 3.3, METHODS),
    "frontier": (lambda: frontier(settings(), log_x=True), 3.3, ("dpo", "tdpo1", "tdpo2")),
    "data size": (lambda: data_size(sizes(), start=START), 3.3, (*METHODS, "start model")),
    "dots": (lambda: dots(categories()), 3.3, ("dpo", "start model")),
    "radar": (lambda: radar(categories()), 3.3, ("dpo", "start model")),
    "displaced": (lambda: displaced(buckets()), 3.3, ("dpo", "dpop", "cpo")),
    "displaced, more": (
        lambda: displaced(buckets(), measures=("displaced", "chosen"), by="length"), 6.8, ("dpop",)
    ),
    "displaced, groups": (lambda: displaced(buckets(), by="group"), 3.3, ("dpo",)),
    "token profile": (lambda: token_profile(profiles()), 3.3, ("dpo", "dpop", "ipo")),
    "accuracy": (lambda: accuracy(accuracies()), 3.3, (*METHODS, "dpop", "orpo")),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_laid_out(kind: str):
    make, width, told = KINDS[kind]
    figure = make()
    assert figure.get_figwidth() == width
    assert collisions(figure) == []
    printed = pieces(figure)
    assert min(size for _, _, size in printed) >= 6, "points, on paper"
    assert set(told) <= {words for words, _, _ in printed}


LONG = "dpo (beta=0.05, learning_rate=1e-05)"


def test_long_labels_stay_inside():
    frame = sizes(num_runs=1).assign(label=lambda f: f["method"].where(f["method"] != "dpo", LONG))
    assert collisions(data_size(frame)) == []


def test_the_check_sees_what_it_is_for():
    figure = data_size(sizes(num_runs=1))
    figure.text(0.5, 0.5, "over")
    figure.text(0.5, 0.5, "another")
    figure.text(0.97, 0.5, "beyond the edge")
    found = collisions(figure)
    assert "'over' over 'another'" in found and "'beyond the edge' leaves the figure" in found
