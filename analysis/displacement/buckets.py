"""The fixed edges by which pairs are put into buckets: edit distance, and length of the chosen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiebreak_analysis.displacement.parts import Part, part

if TYPE_CHECKING:
    import pandas as pd

# Levenshtein distance over the tokens, divided by the longer response: 0 the same, 1 nothing alike.
# Closer spaced where displacement lives: the DPOP paper (2402.13228) found it in pairs 6.5 % apart
# and not in pairs 90 % apart.
EDIT_DISTANCE_EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
# Up to here a pair is called near-duplicate: at most every fourth token must change.
NEAR_DUPLICATE = 0.25
# Tokens of the chosen response, doubling: what a sum over tokens shows grows with length.
LENGTH_EDGES = (0, 16, 32, 64, 128, 256, 512, None)


def by_edit_distance(rows: pd.DataFrame) -> tuple[Part, ...]:
    """One part per bucket, empty ones too. A bucket holds its upper edge, the first its lower."""
    distance = rows["edit_distance"]
    edges = list(zip(EDIT_DISTANCE_EDGES, EDIT_DISTANCE_EDGES[1:], strict=False))
    return tuple(
        part(f"{low:g} to {high:g}", rows[_inside(distance, low, high, first=at == 0)])
        for at, (low, high) in enumerate(edges)
    )


def by_length(rows: pd.DataFrame) -> tuple[Part, ...]:
    """One part per bucket of the chosen response's tokens, empty ones too."""
    return tuple(
        part(name, rows[(length > low) & (length <= high)])
        for length in [rows["length/chosen"]]
        for name, low, high in _length_buckets()
    )


def near_and_distant(rows: pd.DataFrame) -> tuple[Part, Part]:
    distance = rows["edit_distance"]
    near = rows[distance <= NEAR_DUPLICATE]
    return part("near-duplicate pairs", near), part("other pairs", rows[distance > NEAR_DUPLICATE])


def _inside(distance: pd.Series, low: float, high: float, first: bool) -> pd.Series:
    return (distance >= low if first else distance > low) & (distance <= high)


def _length_buckets() -> Iterator[tuple[str, float, float]]:
    for low, high in zip(LENGTH_EDGES, LENGTH_EDGES[1:], strict=False):
        assert low is not None
        if high is None:
            yield f"over {low}", low, float("inf")
        else:
            yield f"{low + 1} to {high}", low, high
