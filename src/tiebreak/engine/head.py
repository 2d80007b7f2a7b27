"""Log-probs of given tokens from hidden states, without a (positions, vocabulary) tensor.

Positions go through the LM head in chunks; log-softmax is float32. The gradient of a token's
log-prob with respect to its hidden state, `W[target] - softmax @ W`, does not depend on what
comes after it, so with a frozen head (LoRA) it is stored in the forward pass and no logits are
ever made twice. With a trainable head the logits are made again in the backward pass.

Shape legend: N scored positions, C a chunk of them, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def token_logps(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, chunk: int = 256):
    """(logp (N,), entropy (N,)) in float32; logp is differentiable, entropy is detached (nats)."""
    return _TokenLogps.apply(hidden_ND, weight_VD, targets_N, chunk)


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND, weight_VD, targets_N, chunk: int):
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        logp_N = hidden_ND.new_empty(len(hidden_ND), dtype=_wide(hidden_ND))
        entropy_N = torch.empty_like(logp_N)
        slope_ND = torch.empty_like(hidden_ND) if needs_hidden and not needs_weight else None
        for part, log_p_CV, p_CV in _chunks(hidden_ND, weight_VD, chunk):
            logp_N[part] = log_p_CV.gather(1, targets_N[part, None]).squeeze(1)
            entropy_N[part] = -log_p_CV.mul_(p_CV).sum(1)
            if slope_ND is not None:
                slope_ND[part] = weight_VD[targets_N[part]] - p_CV.to(weight_VD.dtype) @ weight_VD
        ctx.chunk = chunk
        saved = (slope_ND,) if slope_ND is not None else (hidden_ND, weight_VD, targets_N)
        ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):
        grad_N = gradients[0]
        if len(ctx.saved_tensors) == 1:
            (slope_ND,) = ctx.saved_tensors
            return slope_ND * grad_N[:, None].to(slope_ND.dtype), None, None, None
        hidden_ND, weight_VD, targets_N = ctx.saved_tensors
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD)
        for part, _, p_CV in _chunks(hidden_ND, weight_VD, ctx.chunk):
            slope_CV = p_CV.neg_()
            slope_CV[torch.arange(len(slope_CV), device=slope_CV.device), targets_N[part]] += 1
            slope_CV = slope_CV.mul_(grad_N[part, None]).to(hidden_ND.dtype)
            grad_hidden_ND[part] = slope_CV @ weight_VD
            grad_weight_VD.addmm_(slope_CV.T, hidden_ND[part])
        return grad_hidden_ND, grad_weight_VD, None, None


def _chunks(
    hidden_ND: Tensor, weight_VD: Tensor, chunk: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """(positions, their log-softmax (C, V), its exponential (C, V)), chunk by chunk.

    The two tensors are overwritten by the next chunk: on a CPU, fresh pages cost more than the
    arithmetic on them.
    """
    shape = (min(chunk, len(hidden_ND)), len(weight_VD))
    room = hidden_ND.new_empty((2, *shape), dtype=_wide(hidden_ND))
    for start in range(0, len(hidden_ND), chunk):
        part = slice(start, min(start + chunk, len(hidden_ND)))
        log_p_CV, p_CV = room[:, : part.stop - part.start]
        if p_CV.dtype == hidden_ND.dtype:
            torch.mm(hidden_ND[part], weight_VD.T, out=p_CV)
        else:
            p_CV.copy_(hidden_ND[part] @ weight_VD.T)
        torch.log_softmax(p_CV, dim=-1, out=log_p_CV)
        torch.exp(log_p_CV, out=p_CV)
        yield part, log_p_CV, p_CV


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype.itemsize < 4 else x.dtype
