"""Tensor functions that several methods share. Importing this imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tiebreak.methods.responses import Pairs


def log_sigmoid(x: Tensor) -> Tensor:
    """log of the logistic function, finite for any finite x."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(x)


def positive_part(x: Tensor) -> Tensor:
    """max(0, x); its gradient at 0 is 0."""
    return x.relu()


def concatenate(*parts: Tensor) -> Tensor:
    """The tensors joined along their first dimension."""
    import torch

    return torch.cat(parts)


def drift_margin(pairs: Pairs) -> Tensor:
    """(B,) drift of the chosen minus drift of the rejected response (nats)."""
    return pairs.chosen.drift() - pairs.rejected.drift()


def drift_rewards(pairs: Pairs, beta: float) -> tuple[Tensor, Tensor]:
    """(chosen (B,), rejected (B,)): beta * drift, detached."""
    return beta * pairs.chosen.drift().detach(), beta * pairs.rejected.drift().detach()
