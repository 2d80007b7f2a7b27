"""Each loss and its gradient against the paper's equation, written with plain Python floats."""

from __future__ import annotations

import math

import pytest
import torch

from tiebreak.methods import METHODS, Method, Pairs, Responses

NAN = float("nan")
Tokens = list[float]
# One pair: (chosen policy, chosen reference, rejected policy, rejected reference), per token.
PAIRS: dict[str, tuple[Tokens, Tokens, Tokens, Tokens]] = {
    "ragged": ([-1.2, -0.3, -2.5], [-1.0, -0.9, -2.1], [-0.7] * 5, [-0.2, -1.1, -0.4, -0.8, -0.6]),
    "one token": ([-0.4], [-1.3], [-2.2], [-2.0]),
    "equal up to one token": ([-1.0, -0.5, -3.0], [-1.1, -0.6, -2.0], [-1.0, -0.5, -0.2],
                              [-1.1, -0.6, -0.9]),
    "chosen far below reference": ([-30.0, -25.0], [-1.0, -2.0], [-1.5, -0.5], [-1.4, -0.6]),
    "log-prob about -200": ([-5.0] * 40, [-4.9] * 40, [-5.1] * 38, [-5.2] * 38),
}  # fmt: skip
MISMATCHED = {"clamped": ([-9.0, -8.0], [-3.0, -2.0]), "positive": ([-2.0, -1.0], [-2.4, -1.9])}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def minus_log_sigmoid(x: float) -> float:
    return max(-x, 0.0) + math.log1p(math.exp(-abs(x)))


def drift(policy: Tokens, reference: Tokens) -> float:
    return math.fsum(policy) - math.fsum(reference)


# Each oracle: (losses, slope on every chosen token, slope on every rejected token).
Oracle = tuple[list[float], float, float]


def dpo(case: tuple, beta: float) -> Oracle:
    z = beta * (drift(*case[:2]) - drift(*case[2:]))
    return [minus_log_sigmoid(z)], -beta * sigmoid(-z), beta * sigmoid(-z)


def ipo(case: tuple, tau: float, reduction: str) -> Oracle:
    over = (len(case[0]), len(case[2])) if reduction == "mean" else (1, 1)
    h = drift(*case[:2]) / over[0] - drift(*case[2:]) / over[1]
    slope = 2 * (h - 1 / (2 * tau))
    return [(h - 1 / (2 * tau)) ** 2], slope / over[0], -slope / over[1]


def kto(case: tuple, beta: float, desirable: float, undesirable: float, other: tuple) -> Oracle:
    z0 = max(0.0, drift(*other))
    good = sigmoid(beta * (drift(*case[:2]) - z0))
    bad = sigmoid(beta * (z0 - drift(*case[2:])))
    losses = [desirable * (1 - good), undesirable * (1 - bad)]
    return (
        losses,
        -desirable * beta * good * (1 - good),
        undesirable * beta * bad * (1 - bad),
    )


def cpo(case: tuple, beta: float, alpha: float) -> Oracle:
    # With one pair in the batch both NLL variants are the mean over the chosen tokens.
    z = beta * (math.fsum(case[0]) - math.fsum(case[2]))
    nll = -math.fsum(case[0]) / len(case[0])
    slope = beta * sigmoid(-z)
    return [minus_log_sigmoid(z) + alpha * nll], -slope - alpha / len(case[0]), slope


def tensor(values: Tokens, width: int) -> torch.Tensor:
    """(1, width), padded with NaN: padding must never enter."""
    return torch.tensor([values + [NAN] * (width - len(values))], dtype=torch.float64)


def responses(policy: Tokens, reference: Tokens | None, pad: int = 2) -> Responses:
    width = len(policy) + pad
    mask_BT = torch.arange(width)[None] < len(policy)
    reference_BT = None if reference is None else tensor(reference, width)
    return Responses(tensor(policy, width).requires_grad_(), reference_BT, mask_BT)


def check(method: Method, pairs: Pairs, expected: Oracle) -> None:
    losses, chosen, rejected = expected
    loss_B = method.loss(pairs)
    loss_B.sum().backward()
    assert loss_B.tolist() == pytest.approx(losses, rel=1e-12, abs=1e-15)
    for side, slope in ((pairs.chosen, chosen), (pairs.rejected, rejected)):
        want_BT = torch.zeros_like(side.policy).masked_fill(side.mask, slope)
        torch.testing.assert_close(side.policy.grad, want_BT, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("beta", [0.01, 0.1, 2.0])
def test_dpo(case, beta):
    pairs = Pairs(responses(*case[:2]), responses(*case[2:]))
    check(METHODS["dpo"](beta=beta), pairs, dpo(case, beta))


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_ipo(case, reduction, tau):
    pairs = Pairs(responses(*case[:2]), responses(*case[2:]))
    method = METHODS["ipo"](tau=tau, reduction=reduction)
    check(method, pairs, ipo(case, tau, reduction))


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("other", MISMATCHED.values(), ids=MISMATCHED)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.3, 0.7)])
def test_kto(case, other, weights):
    mismatched = responses(*other)
    pairs = Pairs(responses(*case[:2]), responses(*case[2:]), mismatched)
    method = METHODS["kto"](beta=0.2, desirable_weight=weights[0], undesirable_weight=weights[1])
    check(method, pairs, kto(case, 0.2, *weights, other))
    assert mismatched.policy.grad is None, "z0 carries no gradient"


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("nll", ["response", "batch"])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.3])
def test_cpo(case, nll, alpha):
    pairs = Pairs(responses(case[0], None), responses(case[2], None))
    method = METHODS["cpo"](beta=0.1, alpha=alpha, nll=nll)
    check(method, pairs, cpo(case, 0.1, alpha))


def test_cpo_batch_nll_divides_by_all_chosen_tokens():
    """Equation 5 as ALMA computes it: sum over the batch / tokens of the batch."""
    long, short = [-1.0, -2.0, -3.0], [-0.5]
    policy_BT = torch.tensor([long, [*short, NAN, NAN]], dtype=torch.float64, requires_grad=True)
    mask_BT = torch.tensor([[True] * 3, [True, False, False]])
    rejected = Responses(torch.tensor([[-1.0], [-1.0]], dtype=torch.float64))
    pairs = Pairs(Responses(policy_BT, None, mask_BT), rejected)
    for nll, per_pair in (("response", [2.0, 0.5]), ("batch", [6.0 / 2, 0.5 / 2])):
        with_nll = METHODS["cpo"](alpha=1.0, nll=nll).loss(pairs)
        without = METHODS["cpo"](alpha=0.0, nll=nll).loss(pairs)
        assert (with_nll - without).tolist() == pytest.approx(per_pair, abs=1e-12)
    assert math.fsum(per_pair) / 2 == pytest.approx(6.5 / 4), "the batch mean is per token"


def test_kto_takes_z0_over_the_whole_batch_and_clamps_once():
    """Mean of -3 and +5 is 1: clamping each row first would give 2.5."""
    mismatched = Responses(
        torch.tensor([[-4.0], [-1.0]], dtype=torch.float64),
        torch.tensor([[-1.0], [-6.0]], dtype=torch.float64),
    )
    one = responses([-1.0], [-1.0])
    assert METHODS["kto"]().reference_point(Pairs(one, one, mismatched)).item() == 1.0
    whole = Pairs(one, one, mismatched)
    cut = Pairs(one, one, whole=whole)
    torch.testing.assert_close(METHODS["kto"]().loss(cut), METHODS["kto"]().loss(whole))
