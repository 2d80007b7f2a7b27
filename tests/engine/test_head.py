"""Token log-probs against log_softmax in float64, both gradient paths, and mixed precision."""

from __future__ import annotations

import pytest
import torch

from tiebreak.engine.head import token_logps

N, D, V = 23, 8, 37


def inputs(dtype: torch.dtype = torch.float64, scale: float = 1.0):
    generator = torch.Generator().manual_seed(0)
    hidden_ND = scale * torch.randn(N, D, generator=generator, dtype=torch.float64)
    weight_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    targets_N = torch.randint(0, V, (N,), generator=generator)
    return hidden_ND.to(dtype), weight_VD.to(dtype), targets_N, torch.linspace(-2, 3, N).double()


def naive(hidden_ND, weight_VD, targets_N):
    log_p_NV = (hidden_ND @ weight_VD.T).log_softmax(-1)
    entropy_N = -(log_p_NV.exp() * log_p_NV).sum(-1)
    return log_p_NV.gather(1, targets_N[:, None]).squeeze(1), entropy_N


@pytest.mark.parametrize("chunk", [1, 7, N - 1, N, 4 * N])
@pytest.mark.parametrize("head", ["frozen", "trainable"])
def test_value_and_gradients_equal_log_softmax(chunk, head):
    hidden_ND, weight_VD, targets_N, grad_N = inputs()
    weight_VD.requires_grad_(head == "trainable")
    expected, found = [], []
    for function, results in ((naive, expected), (token_logps, found)):
        leaf_ND = hidden_ND.clone().requires_grad_()
        weight_VD.grad = None
        extra = (chunk,) if function is token_logps else ()
        logp_N, entropy_N = function(leaf_ND, weight_VD, targets_N, *extra)
        (logp_N * grad_N).sum().backward()
        results += [logp_N.detach(), entropy_N.detach(), leaf_ND.grad, weight_VD.grad]
    for want, got in zip(expected, found, strict=True):
        assert (want is None) == (got is None)
        if want is not None:
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    hidden_ND, weight_VD, targets_N, _ = inputs()
    leaves = hidden_ND[:5].clone().requires_grad_(), weight_VD.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda h, w: token_logps(h, w, targets_N[:5], 2)[0], leaves)


def test_entropy_is_detached_and_uniform_at_zero():
    hidden_ND, weight_VD, targets_N, _ = inputs()
    _, entropy_N = token_logps(torch.zeros_like(hidden_ND).requires_grad_(), weight_VD, targets_N)
    assert not entropy_N.requires_grad
    uniform_N = torch.full_like(entropy_N, V).log()
    torch.testing.assert_close(entropy_N, uniform_N)


@pytest.mark.parametrize("trainable", [False, True])
def test_bfloat16_hidden_gives_float32_log_probs(trainable):
    hidden_ND, weight_VD, targets_N, grad_N = inputs(torch.bfloat16)
    exact_N, _ = naive(hidden_ND.double(), weight_VD.double(), targets_N)
    leaf_ND = hidden_ND.requires_grad_()
    logp_N, entropy_N = token_logps(leaf_ND, weight_VD.requires_grad_(trainable), targets_N, 7)
    assert logp_N.dtype == entropy_N.dtype == torch.float32
    torch.testing.assert_close(logp_N.double(), exact_N, rtol=0, atol=0.1)
    logp_N.sum().backward()
    assert leaf_ND.grad.dtype == torch.bfloat16 and torch.isfinite(leaf_ND.grad).all()


@pytest.mark.parametrize("trainable", [False, True])
def test_logits_far_apart_stay_finite(trainable):
    hidden_ND, weight_VD, targets_N, _ = inputs(torch.float32, scale=1e3)
    leaf_ND, weight_VD = hidden_ND.requires_grad_(), weight_VD.requires_grad_(trainable)
    logp_N, entropy_N = token_logps(leaf_ND, weight_VD, targets_N)
    logp_N.sum().backward()
    for values in (logp_N, entropy_N, leaf_ND.grad):
        assert torch.isfinite(values).all()


def test_no_gradient_is_stored_without_need():
    hidden_ND, weight_VD, targets_N, _ = inputs()
    with torch.no_grad():
        logp_N, _ = token_logps(hidden_ND, weight_VD.requires_grad_(), targets_N)
    assert not logp_N.requires_grad
