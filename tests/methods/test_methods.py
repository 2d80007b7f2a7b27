"""What holds for every method: known start, finite extremes, settings that matter, detachment."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tiebreak.methods import METHODS, Method, Pairs, Responses

OTHER = {
    ("dpo", "beta"): 0.5, ("ipo", "tau"): 0.5, ("ipo", "reduction"): "sum", ("kto", "beta"): 0.5,
    ("kto", "desirable_weight"): 1.5, ("kto", "undesirable_weight"): 1.5, ("cpo", "beta"): 0.5,
    ("cpo", "alpha"): 0.5, ("cpo", "nll"): "batch",
}  # fmt: skip
FIELDS = [(name, f.name) for name, cls in METHODS.items() for f in dataclasses.fields(cls)]


def some(seed: int, num: int = 4, width: int = 6, dtype: torch.dtype = torch.float32) -> Responses:
    generator = torch.Generator().manual_seed(seed)
    policy_BT = -5 * torch.rand(num, width, generator=generator)
    reference_BT = -5 * torch.rand(num, width, generator=generator)
    lengths_B = torch.randint(1, width + 1, (num,), generator=generator)
    mask_BT = torch.arange(width)[None] < lengths_B[:, None]
    return Responses(policy_BT.to(dtype).requires_grad_(), reference_BT.to(dtype), mask_BT)


def batch(dtype: torch.dtype = torch.float32) -> Pairs:
    return Pairs(some(1, dtype=dtype), some(2, dtype=dtype), some(3, dtype=dtype))


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_each_hyperparameter_changes_the_loss(name, field):
    cls, pairs = METHODS[name], batch()
    assert cls(**{field: OTHER[name, field]}) != cls()
    changed = cls(**{field: OTHER[name, field]}).loss(pairs).mean()
    assert not torch.isclose(changed, cls().loss(pairs).mean(), rtol=1e-4)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_each_hyperparameter_names_its_source_and_range(name, field):
    metadata = METHODS[name].__dataclass_fields__[field].metadata
    assert metadata["source"] and metadata["range"]


@pytest.mark.parametrize(
    "method",
    [METHODS["dpo"](beta=0.3), METHODS["ipo"](tau=0.7), METHODS["ipo"](tau=0.2, reduction="sum"),
     METHODS["kto"](), METHODS["kto"](desirable_weight=1.2, undesirable_weight=1.2)],
)  # fmt: skip
def test_the_loss_at_the_start_is_as_declared(method):
    same = [Responses(r.reference, r.reference, r.mask) for r in (some(1), some(2), some(3))]
    found = method.loss(Pairs(*same)).mean().item()
    assert found == pytest.approx(method.loss_at_start(), rel=1e-6)


def test_no_start_value_where_none_is_known():
    assert METHODS["cpo"]().loss_at_start() is None
    assert METHODS["kto"](desirable_weight=1.1).loss_at_start() is None


def extreme(policy: float, reference: float, dtype: torch.dtype) -> Responses:
    policy_BT = torch.full((2, 3), policy, dtype=dtype, requires_grad=True)
    return Responses(policy_BT, torch.full((2, 3), reference, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("values", [(-1e4, -1e-6, -1e-6, -1e4), (-1e-6, -1e4, -1e4, -1e-6),
                                    (0.0, 0.0, 0.0, 0.0), (-1e4, -1e4, -1e4, -1e4)])  # fmt: skip
def test_loss_and_gradient_are_finite_at_extremes(name, values, dtype):
    chosen, rejected = extreme(*values[:2], dtype), extreme(*values[2:], dtype)
    pairs = Pairs(chosen, rejected, extreme(-1e4, -1e-6, dtype))
    loss_B = METHODS[name]().loss(pairs)
    loss_B.sum().backward()
    assert loss_B.dtype == torch.float32
    assert torch.isfinite(loss_B).all()
    for side in (chosen, rejected):
        assert torch.isfinite(side.policy.grad).all()


def test_sums_of_bfloat16_are_float32():
    """300 tokens of -1.0078125 (exact in bfloat16): a bfloat16 running sum would stall at -256."""
    policy_BT = torch.full((1, 300), -1.0078125, dtype=torch.bfloat16)
    assert Responses(policy_BT).logp().item() == pytest.approx(-302.34375, abs=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_rewards_are_detached_and_ordered_like_the_sides(name):
    method: Method = METHODS[name]()
    pairs = Pairs(some(1, num=2), some(2, num=3), some(3)) if name == "kto" else batch()
    chosen_B, rejected_B = method.rewards(pairs)
    assert not chosen_B.requires_grad and not rejected_B.requires_grad
    assert len(chosen_B) == len(pairs.chosen.policy)
    assert len(rejected_B) == len(pairs.rejected.policy)


@pytest.mark.parametrize(
    ("method", "expected"),
    [(METHODS["dpo"](beta=0.5), (0.5 * 1.5, 0.5 * -0.5)), (METHODS["ipo"](), (0.75, -0.25)),
     (METHODS["ipo"](reduction="sum"), (1.5, -0.5)), (METHODS["kto"](beta=0.5), (0.75, -0.25)),
     (METHODS["cpo"](beta=0.5), (-0.5 * 3.0, -0.5 * 4.0))],
)  # fmt: skip
def test_rewards_by_hand(method, expected):
    chosen = Responses(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-2.0, -2.5]]))
    rejected = Responses(torch.tensor([[-3.0, -1.0]]), torch.tensor([[-2.5, -1.0]]))
    found = method.rewards(Pairs(chosen, rejected))
    assert tuple(float(r) for r in found) == pytest.approx(expected)


def test_kto_has_a_loss_per_response_of_unequal_sides():
    pairs = Pairs(some(1, num=3), some(2, num=1), some(3, num=4))
    assert METHODS["kto"]().loss(pairs).shape == (4,)
    empty = Responses(torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, 1, dtype=torch.bool))
    only_desirable = METHODS["kto"]().loss(Pairs(some(1, num=3), empty, some(3, num=3)))
    assert only_desirable.shape == (3,) and torch.isfinite(only_desirable).all()


def test_what_is_missing_is_named():
    bare = Responses(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="reference"):
        METHODS["dpo"]().loss(Pairs(bare, bare))
    with pytest.raises(ValueError, match="mismatched"):
        METHODS["kto"]().loss(Pairs(some(1), some(2)))
    with pytest.raises(ValueError, match="without tokens"):
        Responses(torch.zeros(1, 2), mask=torch.zeros(1, 2, dtype=torch.bool)).mean_logp()
    with pytest.raises(ValueError, match="shape"):
        Responses(torch.zeros(1, 2), reference=torch.zeros(2, 1))


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_of_a_pair_does_not_depend_on_the_others(name):
    """Apart from declared batch statistics, which `whole` holds fixed."""
    method, whole = METHODS[name](), batch()
    rows = slice(1, 3)
    parts = [Responses(r.policy[rows], r.reference[rows], r.mask[rows])
             for r in (whole.chosen, whole.rejected)]  # fmt: skip
    part_B = method.loss(Pairs(*parts, whole=whole))
    all_B = method.loss(whole)
    expected_B = torch.cat([all_B[1:3], all_B[5:7]]) if name == "kto" else all_B[1:3]
    torch.testing.assert_close(part_B, expected_B)


def test_needs_say_what_the_loss_reads():
    """A method that declares no reference must not read one; the others must."""
    for name, cls in METHODS.items():
        bare = [Responses(r.policy, None, r.mask) for r in (some(1), some(2), some(3))]
        if cls.needs.reference:
            with pytest.raises(ValueError, match="reference"):
                cls().loss(Pairs(*bare))
        else:
            assert torch.isfinite(cls().loss(Pairs(*bare))).all(), name
