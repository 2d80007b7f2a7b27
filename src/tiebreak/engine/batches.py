"""Which rows make which optimiser batch, and how a batch is cut into micro-batches. Batches are
fixed by the seed, the same for every method. Rows of a batch are sorted by length and cut into
consecutive runs. Of all such cuts the cheapest is taken: padded positions plus a fixed price per
micro-batch, none above the budget. Loss and gradient do not depend on the result (every sum is over
the optimiser batch), only time and memory do."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiebreak.errors import UserError


@dataclass(frozen=True)
class BatchPlan:
    """Every optimiser batch of a training run, in order: steps[k] holds the row numbers of
    optimiser step k; the last of an epoch may be smaller."""

    steps: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.steps)


def plan_batches(
    num_rows: int, batch_size: int, epochs: float, seed: int, max_steps: int | None = None
) -> BatchPlan:
    """Shuffle per epoch with `seed`, cut into batches; a fractional epoch ends early."""

    def order(epoch: int) -> list[int]:
        rows = list(range(num_rows))
        random.Random(f"batches {seed} {epoch}").shuffle(rows)
        return rows

    return batches_of(order, num_rows, batch_size, epochs, max_steps)


def batches_of(
    order: Callable[[int], Sequence[int]],
    num_rows: int,
    batch_size: int,
    epochs: float,
    max_steps: int | None = None,
) -> BatchPlan:
    """The rows of each epoch, in the order of `order(epoch)`, cut into batches."""
    per_epoch = math.ceil(num_rows / batch_size)
    total = max(1, math.ceil(per_epoch * epochs))
    total = total if max_steps is None else min(total, max_steps)
    steps: list[tuple[int, ...]] = []
    for epoch in range(math.ceil(total / per_epoch)):
        rows = order(epoch)
        steps += [tuple(rows[i : i + batch_size]) for i in range(0, num_rows, batch_size)]
    return BatchPlan(tuple(steps[:total]))


def mismatch(prompts: Sequence[Sequence[int]], num_responses: Sequence[int]) -> list[tuple]:
    """For each row, (other row, branch): a response that answers a different prompt. Rows are
    shuffled once by a constant seed and each takes from the next row whose prompt differs; pairs
    give their chosen and rejected response in turn. A property of the data alone, so that one
    reference pass serves every run. Rows whose prompts are all equal have no mismatch and raise
    UserError."""
    order = list(range(len(prompts)))
    random.Random("mismatch").shuffle(order)
    result: list[tuple[int, int]] = [(-1, -1)] * len(order)
    for place, row in enumerate(order):
        for step in range(1, len(order)):
            other = order[(place + step) % len(order)]
            if list(prompts[other]) != list(prompts[row]):
                result[row] = (other, place % num_responses[other])
                break
        else:
            raise UserError(
                "every row has the same prompt, and KTO compares with responses to other prompts; "
                "give data with at least two prompts, or use another method"
            )
    return result


def share_of_rank(rows: Sequence[int], rank: int, num_ranks: int) -> list[int]:
    """The part of an optimiser batch one process works on."""
    return list(rows[rank::num_ranks])


def cut(positions: Sequence[int], budget: float, overhead: float) -> list[list[int]]:
    """Indices of rows per micro-batch, longest rows first. positions: row lengths; budget: most
    padded positions per micro-batch (a longer single row still gets one of its own); overhead: what
    starting a micro-batch costs, in positions."""
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
