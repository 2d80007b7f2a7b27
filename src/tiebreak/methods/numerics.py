"""Shared numerics and the declarations a method file is written with. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Needs:
    """What a method asks of the engine, and nothing it does not use.

    reference    the frozen start model's log-probs of each response
    mismatched   a response to another prompt in every row, with its reference log-probs
    unpaired     can train on single labelled responses, too
    whole_batch  parts of `Pairs` to score for the whole optimiser batch before the loss
    unit         what the loss has one entry for: "pair", or "response" (both sides count)
    """

    reference: bool = True
    mismatched: bool = False
    unpaired: bool = False
    whole_batch: tuple[str, ...] = ()
    unit: str = "pair"

    def words(self) -> list[str]:
        """The needs as words, for catalogues."""
        flags = {
            "reference": self.reference,
            "mismatched completions": self.mismatched,
            "pairs": not self.unpaired,
            "whole-batch statistics": bool(self.whole_batch),
        }
        return [word for word, needed in flags.items() if needed]


def hyperparameter(default: Any, *, source: str, range: str, **check: float) -> Any:
    """A dataclass field that knows where its default comes from and which values make sense.

    check: `above=` and `below=` exclusive bounds, `at_least=` an inclusive one.
    """
    return field(default=default, metadata={"source": source, "range": range, "check": check})


def log_sigmoid(x: Tensor) -> Tensor:
    """log of the logistic function, finite for any finite x."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(x)


def concatenate(*parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts)
