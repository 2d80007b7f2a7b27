"""Micro-batch cuts: every row once, within the budget, and the cheapest there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.engine.batches import cut
from tiebreak.engine.reference import cut_many

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def padded_positions(positions: Sequence[int], cuts: Sequence[Sequence[int]]) -> int:
    """Positions that go through the network, padding included."""
    return sum(max(positions[i] for i in part) * len(part) for part in cuts)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to put the items into groups."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for smaller in partitions(rest):
        for i, group in enumerate(smaller):
            yield [*smaller[:i], [first, *group], *smaller[i + 1 :]]
        yield [[first], *smaller]


def fits(positions: list[int], group: list[int], budget: int) -> bool:
    return len(group) == 1 or max(positions[i] for i in group) * len(group) <= budget


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(5, 120), st.integers(0, 60))
def test_no_grouping_within_the_budget_is_cheaper(positions, budget, overhead):
    cuts = cut(positions, budget, overhead)
    assert sorted(i for part in cuts for i in part) == list(range(len(positions)))
    assert all(fits(positions, part, budget) for part in cuts)
    best = min(
        padded_positions(positions, parts) + overhead * len(parts)
        for parts in partitions(list(range(len(positions))))
        if all(fits(positions, group, budget) for group in parts)
    )
    assert padded_positions(positions, cuts) + overhead * len(cuts) == best


def test_by_hand():
    assert cut([3, 10, 3], budget=12, overhead=1) == [[1], [0, 2]]
    assert cut([3, 10, 3], budget=30, overhead=100) == [[1, 0, 2]]
    assert cut([50], budget=10, overhead=1) == [[0]], "a row above the budget gets its own"
    assert padded_positions([3, 10, 3], [[1, 0, 2]]) == 30


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(1, 16))
def test_windows_cover_every_row_once(positions, window):
    cuts = cut_many(positions, budget=100, overhead=5, window=window)
    assert sorted(i for part in cuts for i in part) == list(range(len(positions)))
    assert all(fits(positions, part, 100) for part in cuts)
