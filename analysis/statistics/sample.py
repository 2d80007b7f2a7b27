"""One method's measurements of one metric: a value per seed, or per seed and item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of one metric. ValueError: shapes that disagree, repeats, a value not finite."""

    seeds: tuple[int, ...]
    items: tuple[str, ...]
    """The questions, which every seed answered; () when there is one value per seed."""
    values: np.ndarray
    """(seeds, items), or (seeds,) when `items` is ()."""

    def __post_init__(self) -> None:
        shape = (len(self.seeds), len(self.items)) if self.items else (len(self.seeds),)
        if self.values.shape != shape:
            raise ValueError(
                f"values have shape {self.values.shape}; {len(self.seeds)} seeds and "
                f"{len(self.items)} items need {shape}"
            )
        if not self.seeds:
            raise ValueError("a sample needs at least one seed")
        for what, names in (("seed", self.seeds), ("item", self.items)):
            name, count = Counter(names).most_common(1)[0] if names else (None, 0)
            if count > 1:
                raise ValueError(f"{what} {name!r} is there {count} times")
        if not np.isfinite(self.values).all():
            raise ValueError("a value of the sample is not finite")

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def at(self, seeds: tuple[int, ...], items: tuple[str, ...]) -> np.ndarray:
        """The values of these seeds and items, in their order: (seeds, items) or (seeds,)."""
        row_of = {seed: at for at, seed in enumerate(self.seeds)}
        rows = self.values[[row_of[seed] for seed in seeds]]
        if not self.items:
            return rows
        column_of = {item: at for at, item in enumerate(self.items)}
        return rows[:, [column_of[item] for item in items]]
