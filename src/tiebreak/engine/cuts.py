"""Cut an optimiser batch into micro-batches.

Rows are sorted by length and cut into consecutive runs. Of all such cuts the cheapest is taken:
padded positions plus a fixed price per micro-batch, none above the budget. Loss and gradient do
not depend on the result (every sum is over the optimiser batch), only time and memory do.
"""

from __future__ import annotations

from collections.abc import Sequence


def cut(positions: Sequence[int], budget: int, overhead: int) -> list[list[int]]:
    """Indices of rows per micro-batch, longest rows first.

    positions: row lengths; budget: most padded positions per micro-batch (a longer single row
    still gets one of its own); overhead: what starting a micro-batch costs, in positions.
    """
    order = sorted(range(len(positions)), key=lambda i: (-positions[i], i))
    best: list[float] = [0.0] + [float("inf")] * len(order)
    back = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        for start in range(end - 1, -1, -1):
            padded = positions[order[start]] * (end - start)
            if padded > budget and end - start > 1:
                break
            price = best[start] + padded + overhead
            if price < best[end]:
                best[end], back[end] = price, start
    cuts: list[list[int]] = []
    end = len(order)
    while end:
        cuts.append(order[back[end] : end])
        end = back[end]
    return cuts[::-1]


def padded_positions(positions: Sequence[int], cuts: Sequence[Sequence[int]]) -> int:
    """Positions that go through the network, padding included."""
    return sum(max(positions[i] for i in part) * len(part) for part in cuts)
