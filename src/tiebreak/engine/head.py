"""Scores of given tokens from hidden states, without a (positions, vocabulary) tensor.

Positions go through the LM head in chunks; log-softmax is float32. The gradient of a token's
log-prob with respect to its hidden state, `W[target] - p @ W`, does not depend on what comes after
it, and neither does that of the divergence from a reference q, `(p - q) @ W`; so with a frozen
head (LoRA) both are stored in the forward pass and no logits are ever made twice. With a
trainable head the logits are made again in the backward pass. A soft cap, z = c tanh(hW / c),
multiplies each logit's share of a gradient by 1 - (z / c)^2.

Shape legend: N scored positions, C a chunk of them, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class TokenScores(NamedTuple):
    """Per scored position, float32 or better (nats). Gradients flow through logp and forward_kl.

    logp        log-prob of the token
    entropy     of the distribution it is drawn from
    collision   log of the sum of its squared probabilities; None when not asked for
    forward_kl  KL(reference || policy); None without a reference
    reference   log-prob of the token under the reference; None without one
    """

    logp: Tensor
    entropy: Tensor
    collision: Tensor | None = None
    forward_kl: Tensor | None = None
    reference: Tensor | None = None


class Hidden(NamedTuple):
    """A model's last hidden states at scored positions, and the head that reads them. cap: c of a
    soft cap on the logits."""

    states_ND: Tensor
    weight_VD: Tensor
    cap: float | None = None


def token_scores(
    hidden: Hidden,
    targets_N: Tensor,
    chunk: int = 256,
    *,
    collision: bool = False,
    reference: Hidden | None = None,
) -> TokenScores:
    """Scores of `targets_N` under `hidden`, differentiable in its two tensors."""
    found = _TokenScores.apply(
        hidden.states_ND, hidden.weight_VD, hidden.cap, targets_N, reference, chunk, collision
    )
    logp_N, entropy_N, collision_N, kl_N, reference_N = found
    asked_N = collision_N if collision else None
    against_N = (kl_N, reference_N) if reference else (None, None)
    return TokenScores(logp_N, entropy_N, asked_N, *against_N)


class _TokenScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND, weight_VD, cap, targets_N, reference, chunk, collision):
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        against = reference is not None
        out = tuple(hidden_ND.new_zeros(len(hidden_ND), dtype=_wide(hidden_ND)) for _ in range(5))
        store = needs_hidden and not needs_weight
        slope_ND = torch.empty_like(hidden_ND) if store else None
        kl_slope_ND = torch.empty_like(hidden_ND) if store and against else None
        ref_chunks = chunks(reference, chunk) if against else None
        for part, log_p_CV, p_CV, slope_CV in chunks(Hidden(hidden_ND, weight_VD, cap), chunk):
            logp_N, entropy_N, collision_N, kl_N, reference_N = (row[part] for row in out)
            logp_N.copy_(_at(log_p_CV, targets_N[part]))
            mean_CD = _read(p_CV, slope_CV, weight_VD) if slope_ND is not None else None
            if slope_ND is not None:
                own_C1 = 1 if slope_CV is None else _at(slope_CV, targets_N[part])[:, None]
                slope_ND[part] = own_C1 * weight_VD[targets_N[part]] - mean_CD
            if ref_chunks is not None:
                _, log_q_CV, q_CV, _ = next(ref_chunks)
                reference_N.copy_(_at(log_q_CV, targets_N[part]))
                kl_N.copy_(log_q_CV.sub_(log_p_CV).mul_(q_CV).sum(1))
                if kl_slope_ND is not None and mean_CD is not None:
                    kl_slope_ND[part] = mean_CD - _read(q_CV, slope_CV, weight_VD)
            entropy_N.copy_(-log_p_CV.mul_(p_CV).sum(1))
            if collision:
                collision_N.copy_(p_CV.square().sum(1).log())
        ctx.chunk, ctx.stored, ctx.cap = chunk, store, cap
        ctx.ref_cap = reference.cap if against else None
        again = (hidden_ND, weight_VD, targets_N, *(reference[:2] if against else (None, None)))
        ctx.save_for_backward(*((slope_ND, kl_slope_ND) if store else again))
        ctx.mark_non_differentiable(out[1], out[2], out[4])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):
        grad_N, kl_grad_N = gradients[0], gradients[3]
        if ctx.stored:
            slope_ND, kl_slope_ND = ctx.saved_tensors
            grad_hidden_ND = slope_ND * grad_N[:, None].to(slope_ND.dtype)
            if kl_slope_ND is not None:
                grad_hidden_ND += kl_slope_ND * kl_grad_N[:, None].to(slope_ND.dtype)
            return grad_hidden_ND, None, None, None, None, None, None
        return *_again(ctx, grad_N, kl_grad_N), None, None, None, None, None


def _again(ctx: Any, grad_N: Tensor, kl_grad_N: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of (hidden, weight) with the logits made a second time."""
    hidden_ND, weight_VD, targets_N, ref_hidden_ND, ref_weight_VD = ctx.saved_tensors
    grad_hidden_ND = torch.empty_like(hidden_ND)
    grad_weight_VD = torch.zeros_like(weight_VD)
    ref_chunks = None
    if ref_hidden_ND is not None:
        ref_chunks = chunks(Hidden(ref_hidden_ND, ref_weight_VD, ctx.ref_cap), ctx.chunk)
    for part, _, p_CV, of_cap_CV in chunks(Hidden(hidden_ND, weight_VD, ctx.cap), ctx.chunk):
        slope_CV = p_CV.mul_((kl_grad_N[part] - grad_N[part])[:, None])
        if ref_chunks is not None:
            _, _, q_CV, _ = next(ref_chunks)
            slope_CV -= q_CV.mul_(kl_grad_N[part, None])
        rows_C = torch.arange(len(slope_CV), device=slope_CV.device)
        slope_CV[rows_C, targets_N[part]] += grad_N[part]
        slope_CV = (slope_CV if of_cap_CV is None else slope_CV * of_cap_CV).to(hidden_ND.dtype)
        grad_hidden_ND[part] = slope_CV @ weight_VD
        grad_weight_VD.addmm_(slope_CV.T, hidden_ND[part])
    return grad_hidden_ND, grad_weight_VD


def chunks(hidden: Hidden, chunk: int) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
    """(positions, their log-softmax (C, V), its exponential (C, V), slope of the soft cap (C, V)),
    chunk by chunk. The tensors are overwritten by the next chunk: on a CPU, fresh pages cost more
    than the arithmetic on them."""
    hidden_ND, weight_VD, cap = hidden
    shape = (min(chunk, len(hidden_ND)), len(weight_VD))
    room = hidden_ND.new_empty((2 if cap is None else 3, *shape), dtype=_wide(hidden_ND))
    for start in range(0, len(hidden_ND), chunk):
        part = slice(start, min(start + chunk, len(hidden_ND)))
        log_p_CV, p_CV, *rest = room[:, : part.stop - part.start]
        if p_CV.dtype == hidden_ND.dtype:
            torch.mm(hidden_ND[part], weight_VD.T, out=p_CV)
        else:
            p_CV.copy_(hidden_ND[part] @ weight_VD.T)
        if cap is not None:
            torch.tanh(p_CV.div_(cap), out=p_CV)
            torch.square(p_CV, out=rest[0]).neg_().add_(1)
            p_CV.mul_(cap)
        torch.log_softmax(p_CV, dim=-1, out=log_p_CV)
        torch.exp(log_p_CV, out=p_CV)
        yield part, log_p_CV, p_CV, rest[0] if rest else None


def _read(p_CV: Tensor, slope_CV: Tensor | None, weight_VD: Tensor) -> Tensor:
    """(C, D): the head's rows, weighted."""
    return (p_CV if slope_CV is None else p_CV * slope_CV).to(weight_VD.dtype) @ weight_VD


def _at(values_CV: Tensor, targets_C: Tensor) -> Tensor:
    return values_CV.gather(1, targets_C[:, None]).squeeze(1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype.itemsize < 4 else x.dtype
