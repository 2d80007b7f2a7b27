"""Which way gradients point: what each method is known for, on policies of a few logits."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tiebreak.methods import METHODS, Method, Pairs, Responses

# A policy without context: one logit per word of a vocabulary of four, shared by all positions.
START_V = torch.tensor([3.0, 2.0, 0.0, -1.0], dtype=torch.float64)
CHOSEN, REJECTED = [1, 1, 0, 1], [1, 1, 3, 1]  # equal up to one word: the likely 0, the unlikely 3


def scored(logits_V: Tensor, words: list[int]) -> Responses:
    policy_T, reference_T = logits_V.log_softmax(-1)[words], START_V.log_softmax(-1)[words]
    return Responses(policy_T[None], reference_T[None])


def near_identical(logits_V: Tensor) -> Pairs:
    return Pairs(scored(logits_V, CHOSEN), scored(logits_V, REJECTED))


def trained(method: Method, steps: int, learning_rate: float) -> Pairs:
    """The near-identical pair after some steps of plain gradient descent from the start."""
    logits_V = START_V.clone().requires_grad_()
    for _ in range(steps):
        (slope_V,) = torch.autograd.grad(method.loss(near_identical(logits_V)).sum(), logits_V)
        logits_V = (logits_V - learning_rate * slope_V).detach().requires_grad_()
    return near_identical(logits_V)


def response(tokens: list[float], drift: float = 0.0) -> Responses:
    """One response whose drift is spread evenly over its tokens."""
    policy_BT = torch.tensor([tokens], dtype=torch.float64)
    return Responses(policy_BT.clone().requires_grad_(), policy_BT - drift / len(tokens))


def pull(method: Method, pairs: Pairs) -> float:
    """How hard the loss pulls each chosen token up."""
    (slope_BT,) = torch.autograd.grad(method.loss(pairs).sum(), pairs.chosen.policy)
    return -slope_BT.mean().item()


def test_dpo_lowers_both_log_probs_of_a_near_identical_pair():
    """The shared words pay for the margin: raising word 0 takes from word 1, thrice in the row."""
    after = trained(METHODS["dpo"](), steps=300, learning_rate=0.1)
    assert after.chosen.drift().item() < -0.1
    assert after.rejected.drift().item() < after.chosen.drift().item()


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_dpop_widens_the_margin_without_lowering_the_chosen(version):
    method = METHODS["dpop"](beta=0.1, penalty_weight=5.0, version=version)
    after = trained(method, steps=3000, learning_rate=0.01)
    assert after.chosen.drift().item() > -0.02
    assert after.rejected.drift().item() < -0.3


def test_once_the_chosen_has_fallen_dpop_pulls_it_back_where_dpo_pushes_on():
    fallen_V = (START_V + torch.tensor([0.5, -0.5, 0.0, -0.5])).requires_grad_()
    assert near_identical(fallen_V).chosen.drift().item() < -0.1
    for name, rises in (("dpo", False), ("dpop", True)):
        (slope_V,) = torch.autograd.grad(
            METHODS[name]().loss(near_identical(fallen_V)).sum(), fallen_V
        )
        step_V = fallen_V - 1e-4 * slope_V
        before, after = (near_identical(v).chosen.logp().item() for v in (fallen_V, step_V))
        assert (after > before) == rises, name


def test_simpo_does_not_see_length_at_equal_mean():
    """Both responses twice as long, word for word: SimPO's loss stays, DPO's does not."""
    once = Pairs(response([-1.0, -0.5], 0.4), response([-0.2, -2.0, -0.7], -0.6))
    twice = Pairs(response([-1.0, -0.5] * 2, 0.8), response([-0.2, -2.0, -0.7] * 2, -1.2))
    simpo, dpo = METHODS["simpo"](), METHODS["dpo"]()
    torch.testing.assert_close(simpo.loss(once), simpo.loss(twice))
    assert dpo.loss(twice).item() < dpo.loss(once).item()


def test_rdpo_pulls_less_at_a_longer_chosen_response():
    """At equal drifts DPO pulls alike at any length; a minus before alpha would pull harder."""
    rejected = response([-1.0] * 4, -0.5)
    lengths = (2, 4, 8, 16)
    pulls: dict[str, list[float]] = {}
    for name, method in {"dpo": METHODS["dpo"](), "rdpo": METHODS["rdpo"](alpha=0.1)}.items():
        pulls[name] = [pull(method, Pairs(response([-1.0] * n, 0.5), rejected)) for n in lengths]
    assert pulls["dpo"] == pytest.approx([pulls["dpo"][0]] * 4)
    assert all(later < earlier for earlier, later in itertools.pairwise(pulls["rdpo"]))
    assert pulls["rdpo"][1] == pytest.approx(pulls["dpo"][1]), "at equal length they agree"


def kto_batch(drift_rejected: float, drift_mismatched: float = 2.0) -> Pairs:
    return Pairs(
        response([-1.0, -2.0], 1.0), response([-3.0, -1.0], drift_rejected),
        mismatched=response([-2.0, -2.0], drift_mismatched),
    )  # fmt: skip


def test_kto_leaves_an_undesirable_response_far_below_z0_alone():
    near, far = kto_batch(1.5), kto_batch(-400.0)
    for pairs in (near, far):
        METHODS["kto"]().loss(pairs)[1].backward()
    assert near.rejected.policy.grad.min().item() > 0.01, "near z0 it is pushed down"
    assert far.rejected.policy.grad.abs().max().item() < 1e-15


def test_kto_judges_each_response_by_itself():
    """The undesirable term has no gradient on the desirable response, nor the other way round."""
    for term, own, other in ((0, "chosen", "rejected"), (1, "rejected", "chosen")):
        pairs = kto_batch(0.5)
        METHODS["kto"]().loss(pairs)[term].backward()
        assert getattr(pairs, own).policy.grad.any()
        assert not getattr(pairs, other).policy.grad.any()


def test_z0_of_kto_moves_the_loss_but_carries_no_gradient():
    low, high = kto_batch(0.5, drift_mismatched=1.0), kto_batch(0.5, drift_mismatched=3.0)
    method = METHODS["kto"]()
    assert not torch.isclose(method.loss(low), method.loss(high)).any()
    method.loss(high).sum().backward()
    assert high.mismatched is not None and high.mismatched.policy.grad is None
    assert not method.reference_point(high).requires_grad


@pytest.mark.parametrize(
    ("name", "settled"),
    [("cdpo", lambda h: h == pytest.approx(0.0, abs=1e-9)), ("dpo", lambda h: h < 0),
     ("robust", lambda h: h < 0)],
)  # fmt: skip
def test_only_label_smoothing_has_a_best_margin(name: str, settled: Callable[[float], bool]):
    """At the margin where P(preferred) = 1 - label_smoothing cDPO rests and the others push on."""
    method = METHODS[name]() if name == "dpo" else METHODS[name](label_smoothing=0.2)
    best = torch.log(torch.tensor(0.8 / 0.2)).item() / 0.1
    pairs = Pairs(response([-1.0, -1.0], best / 2), response([-1.0, -1.0], -best / 2))
    method.loss(pairs).sum().backward()
    assert settled(pairs.chosen.policy.grad[0, 0].item())


@pytest.mark.parametrize(("name", "settings"), [("rso", {"gamma": 0.1}), ("slic", {
    "regulariser_weight": 0.0})])  # fmt: skip
def test_hinges_leave_a_pair_beyond_the_margin_alone(name, settings):
    pairs = Pairs(response([-1.0, -1.0], 8.0), response([-9.0, -9.0], -8.0))
    method = METHODS[name](**settings)
    method.loss(pairs).sum().backward()
    assert method.loss(pairs).item() == 0.0
    assert not pairs.chosen.policy.grad.any() and not pairs.rejected.policy.grad.any()


def test_sft_does_not_see_the_rejected_response():
    pairs = Pairs(response([-1.0, -2.0]), response([-3.0]))
    METHODS["sft"]().loss(pairs).sum().backward()
    assert pairs.chosen.policy.grad.tolist() == [[-0.5, -0.5]]
    assert pairs.rejected.policy.grad is None
