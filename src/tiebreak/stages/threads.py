"""CPU threads: a setting of execution, set at the start of every stage that computes."""

from __future__ import annotations


def use_threads(num_threads: int | None) -> None:
    """Sums of floats depend on how they are split, so the same setting gives the same bits.

    None leaves torch's own choice, which heeds OMP_NUM_THREADS and the cores it may use.
    """
    if num_threads is not None:
        import torch

        torch.set_num_threads(num_threads)
