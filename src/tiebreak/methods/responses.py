"""Scored responses as plain tensors, the input of every loss, and functions that losses share.

Shape legend: B pairs (or responses) in the batch, T response positions, padded on the right.
All log-probabilities are natural logarithms (nats). Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # named in annotations only: importing a method imports no torch


@dataclass(frozen=True)
class Responses:
    """One response to each of B prompts, scored token by token.

    policy     (B, T) log-prob of each response token under the policy, with gradient.
    reference  (B, T) log-prob of each under the frozen reference; None where not asked for.
    mask       (B, T) True at response tokens; None means every position is one.
    forward_kl (B, T) KL(reference || policy) over the vocabulary, with gradient, if asked for.
    collision  (B, T) log of the sum over the vocabulary of squared policy probabilities, detached,
               if asked for.
    """

    policy: Tensor
    reference: Tensor | None = None
    mask: Tensor | None = None
    forward_kl: Tensor | None = None
    collision: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("reference", "mask", "forward_kl", "collision"):
            value = getattr(self, name)
            if value is not None and value.shape != self.policy.shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, policy {tuple(self.policy.shape)}; "
                    "give both as (B, T)"
                )

    def sum(self, values_BT: Tensor) -> Tensor:
        """(B,) sum over response tokens, in float32 or better; padding never enters."""
        values_BT = _at_least_float32(values_BT)
        if self.mask is None:
            return values_BT.sum(-1)
        return values_BT.masked_fill(~self.mask.bool(), 0.0).sum(-1)

    def mean(self, values_BT: Tensor) -> Tensor:
        """(B,) mean over response tokens; an empty response has no mean and raises."""
        length_B = self.length()
        if bool((length_B == 0).any()):
            raise ValueError("a response without tokens has no mean log-prob; drop such rows first")
        return self.sum(values_BT) / length_B

    def length(self) -> Tensor:
        """(B,) number of response tokens, in the dtype of the sums."""
        dtype = _at_least_float32(self.policy).dtype
        if self.mask is None:
            return self.policy.new_full(self.policy.shape[:1], self.policy.shape[1], dtype=dtype)
        return self.mask.bool().sum(-1).to(dtype)

    def logp(self) -> Tensor:
        """(B,) log-prob of the whole response under the policy (nats)."""
        return self.sum(self.policy)

    def mean_logp(self) -> Tensor:
        """(B,) mean log-prob per token under the policy (nats per token)."""
        return self.mean(self.policy)

    def drift(self) -> Tensor:
        """(B,) policy minus reference log-prob of the whole response (nats)."""
        return self.sum(self.policy - self._given("reference"))

    def mean_drift(self) -> Tensor:
        """(B,) drift per token (nats per token)."""
        return self.mean(self.policy - self._given("reference"))

    def total_kl(self) -> Tensor:
        """(B,) KL(reference || policy) summed along the response (nats)."""
        return self.sum(self._given("forward_kl"))

    def _given(self, name: str) -> Tensor:
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"this needs {name}; build Responses with {name}=")
        return value


@dataclass(frozen=True)
class Pairs:
    """Chosen and rejected responses to the same B prompts.

    For unpaired data the two sides hold the desirable and the undesirable responses and may
    differ in B. The other fields are given to the methods that ask for them:

    mismatched  a response to another prompt for each row
    prompt      the prompt's own tokens after its first
    ranked      k responses per prompt, best first, with `scores` (B, k); chosen is the first of
                them and rejected the last
    whole       the optimiser batch this is a cut of: detached, the same on every rank, scored
                where the method's needs ask for it (`Needs.whole_batch`), with masks everywhere
    index       (B,) places of these pairs in the whole batch
    noise       (B,) uniform in (0, 1), fixed by seed, step and row
    carried     the method's statistics of this step (`Carries.carry`); on the whole batch
    """

    chosen: Responses
    rejected: Responses
    mismatched: Responses | None = None
    prompt: Responses | None = None
    ranked: tuple[Responses, ...] | None = None
    scores: Tensor | None = None
    whole: Pairs | None = None
    index: Tensor | None = None
    noise: Tensor | None = None
    carried: Mapping[str, float] = field(default_factory=dict)

    def drift_margin(self) -> Tensor:
        """(B,) drift of the chosen minus drift of the rejected response (nats)."""
        return self.chosen.drift() - self.rejected.drift()

    def batch(self) -> Pairs:
        """The whole optimiser batch, over which batch statistics are computed."""
        return self if self.whole is None else self.whole

    def own(self, values_B: Tensor) -> Tensor:
        """The values of these pairs, taken from the values of the whole batch."""
        if self.whole is None:
            return values_B
        assert self.index is not None, "a cut knows its places in the batch"
        return values_B[self.index]


def log_sigmoid(x: Tensor) -> Tensor:
    """log of the logistic function, finite for any finite x."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(x)


def concatenate(*parts: Tensor) -> Tensor:
    """The tensors joined along their first dimension."""
    import torch

    return torch.cat(parts)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x
