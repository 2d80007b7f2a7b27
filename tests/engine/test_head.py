"""Token log-probs against log_softmax in float64, both gradient paths, and mixed precision."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_near, size_of

from tiebreak.engine.head import Hidden, token_scores

N, D, V = 23, 8, 37


def inputs(dtype: torch.dtype = torch.float64, scale: float = 1.0):
    generator = torch.Generator().manual_seed(0)
    hidden_ND = scale * torch.randn(N, D, generator=generator, dtype=torch.float64)
    weight_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    targets_N = torch.randint(0, V, (N,), generator=generator)
    return hidden_ND.to(dtype), weight_VD.to(dtype), targets_N, torch.linspace(-2, 3, N).double()


def token_logps(hidden_ND, weight_VD, targets_N, chunk=256):
    return token_scores(Hidden(hidden_ND, weight_VD), targets_N, chunk)[:2]


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
    logit = size_of(hidden_ND.double() @ weight_VD.double().T)
    assert_near(logp_N, exact_N, size=logit, within=2**-8)  # each of two logits is rounded once
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


def against(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Hidden:
    """A reference with other hidden states and another head."""
    generator = torch.Generator().manual_seed(1)
    states_ND = scale * torch.randn(N, D, generator=generator, dtype=torch.float64)
    weight_VD = torch.randn(V, D, generator=generator, dtype=torch.float64)
    return Hidden(states_ND.to(dtype), weight_VD.to(dtype))


def naive_statistics(hidden: Hidden, targets_N, reference: Hidden):
    log_p_NV = (hidden.states_ND @ hidden.weight_VD.T).log_softmax(-1)
    log_q_NV = (reference.states_ND @ reference.weight_VD.T).log_softmax(-1)
    kl_N = (log_q_NV.exp() * (log_q_NV - log_p_NV)).sum(-1)
    logp_N, ref_logp_N = (t.gather(1, targets_N[:, None])[:, 0] for t in (log_p_NV, log_q_NV))
    return logp_N, kl_N, log_p_NV.exp().square().sum(-1).log(), ref_logp_N


@pytest.mark.parametrize("chunk", [1, 7, N])
@pytest.mark.parametrize("head", ["frozen", "trainable"])
def test_forward_kl_and_collision_equal_full_logits(chunk, head):
    hidden_ND, weight_VD, targets_N, grad_N = inputs()
    weight_VD.requires_grad_(head == "trainable")
    kl_grad_N, seen = grad_N.flip(0) ** 2, []
    for ours in (False, True):
        leaf_ND = hidden_ND.clone().requires_grad_()
        weight_VD.grad = None
        if ours:
            scores = token_scores(
                Hidden(leaf_ND, weight_VD), targets_N, chunk, collision=True, reference=against()
            )
            assert scores.collision is not None and not scores.collision.requires_grad
            assert scores.reference is not None and not scores.reference.requires_grad
            four = (scores.logp, scores.forward_kl, scores.collision, scores.reference)
        else:
            four = naive_statistics(Hidden(leaf_ND, weight_VD), targets_N, against())
        ((four[0] * grad_N).sum() + (four[1] * kl_grad_N).sum()).backward()
        seen.append([*(t.detach() for t in four), leaf_ND.grad, weight_VD.grad])
    for want, got in zip(*seen, strict=True):
        if want is not None:
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kl_of_distributions_without_overlap_is_finite(trainable, dtype):
    hidden_ND, weight_VD, targets_N, _ = inputs(dtype, scale=1e3)
    leaf_ND = hidden_ND.requires_grad_()
    hidden = Hidden(leaf_ND, weight_VD.requires_grad_(trainable))
    scores = token_scores(hidden, targets_N, collision=True, reference=against(dtype, 1e3))
    (scores.logp.sum() + scores.forward_kl.sum()).backward()
    for values in (scores.forward_kl, scores.collision, leaf_ND.grad):
        assert torch.isfinite(values).all()


def test_kl_from_itself_is_zero_with_zero_gradient():
    hidden_ND, weight_VD, targets_N, _ = inputs()
    leaf_ND = hidden_ND.clone().requires_grad_()
    scores = token_scores(
        Hidden(leaf_ND, weight_VD), targets_N, reference=Hidden(hidden_ND, weight_VD)
    )
    scores.forward_kl.sum().backward()
    torch.testing.assert_close(scores.forward_kl, torch.zeros_like(scores.forward_kl))
    torch.testing.assert_close(leaf_ND.grad, torch.zeros_like(leaf_ND))
