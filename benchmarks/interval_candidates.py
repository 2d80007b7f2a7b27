"""Ways to judge a mean over crossed seeds and items, for the coverage table of `verdicts.py`.

Those with a formula need only the mean and the mean squares, which in the normal model are a normal
and three scaled chi-square draws: their error rates come from those draws at once, far into the
tail. The bootstraps need the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from tiebreak_analysis.statistics import Crossed, p_value


@dataclass(frozen=True)
class Variances:
    """Of a metric, or of a difference between methods, by where it comes from."""

    seed: float
    item: float
    rest: float


def squares(
    rng: np.random.Generator, v: Variances, num_seeds: int, num_items: int, num_draws: int
) -> Crossed:
    """Means (true mean 0) and mean squares of `num_draws` normal tables, without the tables."""
    of_seeds, of_items = num_items * v.seed + v.rest, num_seeds * v.item + v.rest
    error = np.sqrt((of_seeds + of_items - v.rest) / (num_seeds * num_items))

    def chi_square(expected: float, df: int) -> np.ndarray:
        return expected * rng.chisquare(df, num_draws) / df

    return Crossed(
        rng.normal(0, error, num_draws),
        chi_square(of_seeds, num_seeds - 1),
        chi_square(of_items, num_items - 1),
        chi_square(v.rest, (num_seeds - 1) * (num_items - 1)),
        num_seeds,
        num_items,
    )


def p_values(c: Crossed) -> Mapping[str, np.ndarray]:
    """Two-sided p of every rule that has a formula."""
    cells, seeds_df, items_df = c.num_seeds * c.num_items, c.num_seeds - 1, c.num_items - 1

    def student(variance: np.ndarray, df: np.ndarray | int) -> np.ndarray:
        return 2 * stdtr(df, -np.abs(c.mean) / np.sqrt(variance))

    total = np.maximum(c.of_seeds + c.of_items - c.of_rest, 1e-12 * c.of_rest)
    guarded = np.maximum(c.of_seeds, c.of_rest) + np.maximum(c.of_items - c.of_rest, 0)
    parts = c.of_seeds**2 / seeds_df + c.of_items**2 / items_df
    df = np.maximum(total**2 / (parts + c.of_rest**2 / (seeds_df * items_df)), 1)
    # a chunk at a time: p_value holds 1536 numbers for each table
    chunks = [slice(at, at + 2000) for at in range(0, len(c.mean), 2000)]
    ours = np.concatenate([p_value(_part(c, chunk)) for chunk in chunks])
    return {
        "Student over seeds": student(c.of_seeds / cells, seeds_df),
        "Student over items": student(c.of_items / cells, items_df),
        "Satterthwaite": student(total / cells, df),
        "Satterthwaite, guarded": student(guarded / cells, np.maximum(df, seeds_df)),
        "S-1 degrees": student(guarded / cells, seeds_df),
        "Behrens-Fisher (ours)": ours,
    }


def bootstrap_misses(
    rng: np.random.Generator,
    v: Variances,
    num_seeds: int,
    num_items: int,
    num_tables: int = 400,
    num_resamples: int = 400,
) -> Mapping[str, float]:
    """How often 95 % percentile intervals of two bootstraps miss the true mean.

    Hierarchical: seeds, then items anew inside each seed drawn (their mean, drawn from the normal
    law it has with hundreds of items). Pigeonhole (Owen 2007): seeds and items apart, and the cells
    where they meet.
    """
    missed = {"hierarchical bootstrap": 0, "pigeonhole bootstrap": 0}
    uniform_I = np.full(num_items, 1 / num_items)
    for _ in range(num_tables):
        values = rng.normal(0, v.seed**0.5, (num_seeds, 1)) + rng.normal(0, v.item**0.5, num_items)
        values = values + rng.normal(0, v.rest**0.5, (num_seeds, num_items))
        seeds_RS = rng.integers(num_seeds, size=(num_resamples, num_seeds))
        items_RI = rng.multinomial(num_items, uniform_I, num_resamples) / num_items
        cell_RS = items_RI @ values.T  # of the pigeonhole: the same items for every seed
        error_S = values.std(1) / num_items**0.5
        own_RS = values.mean(1)[seeds_RS] + rng.normal(size=seeds_RS.shape) * error_S[seeds_RS]
        means = {
            "hierarchical bootstrap": own_RS.mean(1),
            "pigeonhole bootstrap": np.take_along_axis(cell_RS, seeds_RS, 1).mean(1),
        }
        for name, drawn in means.items():
            low, high = np.quantile(drawn, (0.025, 0.975))
            missed[name] += not low <= 0 <= high
    return {name: count / num_tables for name, count in missed.items()}


def _part(c: Crossed, chunk: slice) -> Crossed:
    return Crossed(
        c.mean[chunk],
        c.of_seeds[chunk],
        c.of_items[chunk],
        c.of_rest[chunk],
        c.num_seeds,
        c.num_items,
    )
