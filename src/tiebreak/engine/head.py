"""Log-probs of given tokens from hidden states, without a (positions, vocabulary) tensor.

Positions go through the LM head in chunks; log-softmax is float32. The gradient of a token's
log-prob with respect to its hidden state, `W[target] - softmax @ W`, does not depend on what
comes after it, so with a frozen head (LoRA) it is stored in the forward pass and no logits are
ever made twice. With a trainable head the logits are made again in the backward pass.

Shape legend: N scored positions, C a chunk of them, D hidden size, V vocabulary.
"""

from __future__ import annotations

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
        for part in _chunks(len(hidden_ND), chunk):
            log_p_CV = _log_softmax(hidden_ND[part], weight_VD)
            logp_N[part] = log_p_CV.gather(1, targets_N[part, None]).squeeze(1)
            p_CV = log_p_CV.exp()
            entropy_N[part] = -torch.linalg.vecdot(p_CV, log_p_CV)
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
        for part in _chunks(len(hidden_ND), ctx.chunk):
            slope_CV = -_log_softmax(hidden_ND[part], weight_VD).exp_()
            slope_CV[torch.arange(len(slope_CV), device=slope_CV.device), targets_N[part]] += 1
            slope_CV = (slope_CV * grad_N[part, None]).to(hidden_ND.dtype)
            grad_hidden_ND[part] = slope_CV @ weight_VD
            grad_weight_VD += slope_CV.T @ hidden_ND[part]
        return grad_hidden_ND, grad_weight_VD, None, None


def _log_softmax(hidden_CD: Tensor, weight_VD: Tensor) -> Tensor:
    logits_CV = hidden_CD @ weight_VD.T
    return torch.log_softmax(logits_CV.to(_wide(logits_CV)), dim=-1)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype.itemsize < 4 else x.dtype


def _chunks(total: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, total)) for i in range(0, total, size)]
