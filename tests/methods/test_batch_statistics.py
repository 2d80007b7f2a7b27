"""Batch statistics, weights and moving references, against plain Python floats."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch

from tiebreak.methods import METHODS, Pairs, Responses

MARGINS = ([0.5, -1.0, 2.0, 0.1, -0.3, 4.0], [1.5, -0.5, 2.5, 0.7, 9.0, -4.0])
NOISE = ([0.9, 0.2, 0.6, 0.5, 0.35, 0.8], [0.1, 0.4, 0.7, 0.25, 0.99, 0.95])
STEP = dict[str, float]


def pairs_of(margins: list[float], noise: list[float] | None = None) -> Pairs:
    """Pairs whose h is `margins`: a chosen and a rejected response of two tokens each."""
    margin_B = torch.tensor(margins, dtype=torch.float64)
    chosen_BT = torch.stack([-1 + 0.5 * margin_B, torch.full_like(margin_B, -0.7)], 1)
    rejected_BT = torch.stack([-1 - 0.5 * margin_B, torch.full_like(margin_B, -0.2)], 1)
    same_BT = torch.tensor([[-1.0, -0.7]], dtype=torch.float64).expand_as(chosen_BT)
    other_BT = torch.tensor([[-1.0, -0.2]], dtype=torch.float64).expand_as(chosen_BT)
    mask_BT = torch.ones(len(margins), 2, dtype=torch.bool)
    return Pairs(
        Responses(chosen_BT.requires_grad_(), same_BT, mask_BT),
        Responses(rejected_BT.requires_grad_(), other_BT, mask_BT),
        noise=None if noise is None else torch.tensor(noise, dtype=torch.float64),
    )


def detached(pairs: Pairs) -> Pairs:
    sides = [dataclasses.replace(r, policy=r.policy.detach())
             for r in (pairs.chosen, pairs.rejected)]  # fmt: skip
    return dataclasses.replace(pairs, chosen=sides[0], rejected=sides[1])


def cut(pairs: Pairs, whole: Pairs, rows: list[int]) -> Pairs:
    def take(r: Responses) -> Responses:
        assert r.reference is not None and r.mask is not None
        return Responses(r.policy[rows], r.reference[rows], r.mask[rows])

    return Pairs(take(pairs.chosen), take(pairs.rejected), whole=whole, index=torch.tensor(rows))


def stepped(method: Any, number: int, before: STEP) -> Pairs:
    """The whole batch of a step, with its carried statistics."""
    batch = pairs_of(MARGINS[number], NOISE[number])
    return dataclasses.replace(batch, carried=method.carry(detached(batch), before))


def by_hand(margins: list[float], noise: list[float], before: STEP) -> tuple[list[float], STEP]:
    """beta-DPO at its defaults: (losses, carried)."""
    n = len(margins)
    mean = sum(margins) / n
    std = math.sqrt(sum((h - mean) ** 2 for h in margins) / (n - 1))
    m = 0.9 * before.get("margin_mean", 0.0) + 0.1 * mean
    s = 0.9 * before.get("margin_std", 0.0) + 0.1 * std
    # Drawing without replacement: the smallest of exponential waiting times, rate = weight.
    log_waits = [math.log(-math.log(u)) + 0.5 * ((h - m) / s) ** 2
                 for h, u in zip(margins, noise, strict=True)]  # fmt: skip
    kept = sorted(range(n), key=lambda i: log_waits[i])[: int(n * 0.8)]
    beta = max(0.1 * (1 + 0.6 * (sum(margins[i] for i in kept) / len(kept) - m)), 1e-3)
    losses = [math.log1p(math.exp(-beta * h)) * n / len(kept) if i in kept else 0.0
              for i, h in enumerate(margins)]  # fmt: skip
    return losses, {"margin_mean": m, "margin_std": s}


def test_beta_dpo_over_two_steps_by_hand() -> None:
    method, before = METHODS["beta-dpo"](), {}
    for number in (0, 1):
        batch = stepped(method, number, before)
        losses, carried = by_hand(MARGINS[number], NOISE[number], before)
        assert dict(batch.carried) == pytest.approx(carried, rel=1e-12)
        assert method.loss(batch).tolist() == pytest.approx(losses, rel=1e-12)
        assert sum(loss > 0 for loss in losses) == 4
        before = dict(batch.carried)


def test_beta_dpo_cuts_have_the_losses_and_gradients_of_the_whole() -> None:
    method = METHODS["beta-dpo"]()
    whole = stepped(method, 0, {})
    method.loss(whole).sum().backward()
    cuts = pairs_of(MARGINS[0])
    found_B = torch.empty(6, dtype=torch.float64)
    for rows in ([4, 0], [1, 2, 5], [3]):
        loss_B = method.loss(cut(cuts, detached(whole), rows))
        loss_B.sum().backward()
        found_B[rows] = loss_B.detach()
    torch.testing.assert_close(found_B, method.loss(whole).detach())
    torch.testing.assert_close(cuts.chosen.policy.grad, whole.chosen.policy.grad)
    torch.testing.assert_close(cuts.rejected.policy.grad, whole.rejected.policy.grad)


@pytest.mark.parametrize(("rho", "kept"), [(0.0, 6), (0.2, 4), (0.5, 3), (0.99, 1)])
def test_beta_dpo_keeps_its_share_and_its_mean(rho: float, kept: int) -> None:
    method = METHODS["beta-dpo"](rho=rho, alpha=0.0)
    batch = stepped(method, 1, {})
    loss_B = method.loss(batch).detach()
    assert (loss_B > 0).sum() == kept
    plain_B = METHODS["dpo"](beta=0.1).loss(batch).detach()
    assert loss_B.mean() == pytest.approx(plain_B[loss_B > 0].mean().item(), rel=1e-12)


def test_beta_dpo_rounds_its_share_down_and_no_further() -> None:
    """In floats 10 * (1 - 0.9) is below 1, and 20 * (1 - 0.95) too."""
    for number, rho in ((10, 0.9), (20, 0.95)):
        batch = pairs_of([0.0] * number, [0.5] * number)
        batch = dataclasses.replace(batch, carried={"margin_mean": 0.0, "margin_std": 1.0})
        assert METHODS["beta-dpo"](rho=rho).kept(batch).sum() == 1


def test_beta_dpo_draws_with_the_stated_odds() -> None:
    """Of three pairs one is kept, with odds exp(-z^2 / 2): 1, exp(-1/2), exp(-2)."""
    method, counts = METHODS["beta-dpo"](rho=0.5), Counter()
    noise_NB = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    for noise_B in noise_NB:
        batch = dataclasses.replace(pairs_of([1.0, 2.0, 3.0]), noise=noise_B)
        batch = dataclasses.replace(batch, carried={"margin_mean": 1.0, "margin_std": 1.0})
        counts[int(method.kept(batch).argmax())] += 1
    odds = [1.0, math.exp(-0.5), math.exp(-2.0)]
    for i, one in enumerate(odds):
        assert counts[i] / 4000 == pytest.approx(one / sum(odds), abs=0.03)


def test_beta_dpo_at_its_start_is_ln_2() -> None:
    """Every h is 0 and so is s: a fair draw, no NaN."""
    method = METHODS["beta-dpo"]()
    batch = pairs_of([0.0] * 6, NOISE[0])
    batch = dataclasses.replace(batch, carried=method.carry(batch, {}))
    assert dict(batch.carried) == {"margin_mean": 0.0, "margin_std": 0.0}
    loss_B = method.loss(batch)
    assert loss_B.mean().item() == pytest.approx(math.log(2), rel=1e-12)
    assert loss_B.nonzero().flatten().tolist() == [0, 2, 3, 5], "the largest noise is kept"
    loss_B.sum().backward()
    assert batch.chosen.policy.grad is not None
    assert torch.isfinite(batch.chosen.policy.grad).all()


def test_beta_dpo_takes_one_pair_and_needs_its_statistics() -> None:
    method = METHODS["beta-dpo"]()
    lone = pairs_of([2.0], [0.3])
    lone = dataclasses.replace(lone, carried=method.carry(lone, {}))
    beta = 0.1 * (1 + 0.6 * (2.0 - 0.2))
    assert method.loss(lone).item() == pytest.approx(math.log1p(math.exp(-beta * 2.0)))
    with pytest.raises(ValueError, match="carried"):
        method.loss(pairs_of([2.0], [0.3]))


def test_tr_dpo_moves_its_reference_every_so_often() -> None:
    soft, hard = METHODS["tr-dpo"](mixing=0.6, sync_every=4), METHODS["tr-dpo"](mixing=1.0)
    assert [soft.reference_share(step) for step in range(1, 9)] == [0, 0, 0, 0.6, 0, 0, 0, 0.6]
    assert [hard.reference_share(step) for step in (511, 512, 513, 1024)] == [0, 1, 0, 1]
    every = METHODS["tr-dpo"](sync_every=1)
    assert {every.reference_share(step) for step in range(1, 5)} == {0.6}


def scored(policy: list[list[float]], collision: float) -> Responses:
    policy_BT = torch.tensor(policy, dtype=torch.float64)
    reference_BT = torch.full_like(policy_BT, -1.0)
    collision_BT = torch.full_like(policy_BT, collision)
    return Responses(policy_BT.requires_grad_(), reference_BT, collision=collision_BT)


def test_wpo_weights_are_clamped_at_one_and_detached() -> None:
    chosen = scored([[-0.1, -0.3], [-0.1, -0.3], [-1e4, -1e4]], -0.9)
    rejected = scored([[-0.2, -0.4], [-3.0, -3.4], [-1e4, -1e4]], -0.9)
    pairs, method = Pairs(chosen, rejected), METHODS["wpo"](beta=0.5)
    weight_B = method.weight(pairs)
    # exp(0.7 + 0.6) is clamped; the product is clamped, not each factor: exp(0.7 - 2.3).
    assert weight_B.tolist() == pytest.approx([1.0, math.exp(-1.6), 0.0], rel=1e-12)
    assert not weight_B.requires_grad
    loss_B, plain_B = method.loss(pairs), METHODS["dpo"](beta=0.5).loss(pairs)
    torch.testing.assert_close(loss_B, weight_B * plain_B)
    found = torch.autograd.grad(loss_B.sum(), chosen.policy)[0]
    plain = torch.autograd.grad(plain_B.sum(), chosen.policy)[0]
    torch.testing.assert_close(found, weight_B[:, None] * plain)


def ragged() -> Pairs:
    generator = torch.Generator().manual_seed(3)

    def side(width: int, lengths: list[int]) -> Responses:
        policy_BT, reference_BT, kl_BT = -3 * torch.rand(3, 2, width, generator=generator).double()
        mask_BT = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
        forward_kl = (-kl_BT).requires_grad_()
        return Responses(policy_BT.requires_grad_(), reference_BT, mask_BT, forward_kl)

    return Pairs(side(5, [5, 2]), side(4, [3, 4]))


def test_ld_dpo_is_dpo_at_one_and_drops_the_excess_at_zero() -> None:
    pairs = ragged()
    dpo, whole = METHODS["dpo"](beta=0.3), METHODS["ld-dpo"](beta=0.3, alpha=1.0)
    torch.testing.assert_close(whole.loss(pairs), dpo.loss(pairs))
    METHODS["ld-dpo"](beta=0.3, alpha=0.0).loss(pairs).sum().backward()
    chosen, rejected = pairs.chosen.policy.grad, pairs.rejected.policy.grad
    assert chosen is not None and rejected is not None
    assert (chosen != 0).sum(1).tolist() == (rejected != 0).sum(1).tolist() == [3, 2]


def test_tdpo2_at_alpha_one_has_the_value_of_tdpo1_but_not_its_gradient() -> None:
    found = []
    for method in (METHODS["tdpo1"](beta=0.3), METHODS["tdpo2"](beta=0.3, alpha=1.0)):
        pairs = ragged()
        loss_B = method.loss(pairs)
        loss_B.sum().backward()
        found.append((loss_B, pairs.chosen.forward_kl.grad, pairs.rejected.forward_kl.grad))
    (one_B, chosen, rejected), (two_B, no_chosen, same_rejected) = found
    torch.testing.assert_close(one_B, two_B)
    torch.testing.assert_close(rejected, same_rejected)
    assert chosen.any() and no_chosen is None
