"""The processes that train one run together, as a launcher's environment names them: rank, number,
and what they tell one another. One process tells itself, and needs no group. Imports no torch until
there are several."""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BUCKET = 2**24  # numbers that are added up at once: a copy of so many gradients is held


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(timeout: datetime.timedelta = datetime.timedelta(minutes=30)) -> None:
    """Meet the others, once; every process must call. timeout: how long one waits for another."""
    import torch
    from torch import distributed

    if world_size() == 1 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=timeout)


def total(values: Tensor) -> Tensor:
    """`values`, on the CPU, summed over the processes."""
    if world_size() > 1:
        from torch import distributed

        distributed.all_reduce(values)
    return values


def any_of(mine: bool) -> bool:
    """Whether this is so in one of them. The answer comes when all have asked."""
    if world_size() == 1:
        return mine
    import torch

    return bool(total(torch.tensor(float(mine))))


def wait() -> None:
    """Until all are here."""
    any_of(False)


def gather(mine: Any) -> list[Any]:
    """What each process gives, by rank."""
    if world_size() == 1:
        return [mine]
    from torch import distributed

    given: list[Any] = [None] * world_size()
    distributed.all_gather_object(given, mine)
    return given


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Add up each parameter's gradient over the processes. A gradient that none of them has stays
    None, as an expert's is that no token went to; the optimiser then leaves its weights alone."""
    if world_size() == 1:
        return
    import torch
    from torch import distributed

    has = total(torch.tensor([float(p.grad is not None) for p in parameters]))
    given = [p for p, count in zip(parameters, has.tolist(), strict=True) if count]
    for bucket in _buckets(given):
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([part.flatten() for part in parts])
        distributed.all_reduce(flat)
        for p, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            p.grad = part.view_as(p) if p.grad is None else p.grad.copy_(part.view_as(p))


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    sizes = itertools.accumulate((p.numel() for p in parameters), initial=0)
    numbered = zip((size // BUCKET for size in sizes), parameters, strict=False)
    for _, group in itertools.groupby(numbered, key=lambda one: one[0]):
        yield [parameter for _, parameter in group]
