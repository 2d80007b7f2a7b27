"""CPU threads: a setting of execution, set at the start of every stage that computes."""

from __future__ import annotations


def use_threads(num_threads: int | None) -> None:
    """Sums of floats depend on how they are split, so the same setting gives the same bits."""
    import os

    import torch

    torch.set_num_threads(num_threads or os.cpu_count() or 1)
