"""What holds for every method, whatever it is: a known start, finite extremes, honest needs."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest
import torch
from any_method import (
    NAN,
    OF_A_PAIR,
    OF_A_RESPONSE,
    batch,
    carried,
    extreme,
    of_all,
    responses,
    rows,
    same_as_reference,
    variants,
    without,
)

from tiebreak.catalogue.cards import PARTS, parts
from tiebreak.methods import METHODS, Method, Pairs, Responses, contract

HELPERS = {"contract", "responses"}
FOLDER = Path(contract.__file__).parent
FILES = sorted(p for p in FOLDER.glob("*.py") if p.stem not in {"__init__", *HELPERS})
STARTS = [name for name in METHODS if any(m.loss_at_start() is not None for m in variants(name))]
EXTREMES = [(-1e4, -1e-6, -1e-6, -1e4), (-1e-6, -1e4, -1e4, -1e-6), (0.0, 0.0, 0.0, 0.0),
            (-1e4, -1e4, -1e4, -1e4)]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem.replace("_", "-"))
def test_a_method_imports_no_other_and_no_torch_before_it_is_used(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = {
        module
        for node in ast.walk(tree)
        for module in (
            [a.name for a in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    ours = {name for name in found if name.startswith("tiebreak")}
    assert ours <= {f"tiebreak.methods.{helper}" for helper in HELPERS}
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torch" in ast.unparse(node) for node in top)


def test_every_file_holds_a_method() -> None:
    assert {cls.__module__.rpartition(".")[2] for cls in METHODS.values()} == {
        path.stem for path in FILES
    }


@pytest.mark.parametrize("name", METHODS)
def test_its_card_is_complete(name: str) -> None:
    given = parts(name)
    assert tuple(part for part in given if part) == PARTS, "all parts, in this order, once each"
    assert all("".join(lines).strip() for lines in given.values())
    assert any(line.startswith("    ") for line in given[""]), "an indented equation"
    assert "arXiv" in given["Paper"][0]
    cls = METHODS[name]
    assert name == cls.name and cls.start_loss and 0 < len(cls.summary) < 75


@pytest.mark.parametrize("name", STARTS)
def test_the_loss_at_the_start_is_as_declared(name: str) -> None:
    for method in variants(name):
        pairs = carried(method, same_as_reference(batch(1)))
        if method.loss_at_start() is not None:
            found = method.loss(pairs).mean().item()
            assert found == pytest.approx(method.loss_at_start(), rel=1e-5), method


def test_no_start_value_where_none_is_known() -> None:
    assert METHODS["cpo"]().loss_at_start() is None
    assert METHODS["kto"](desirable_weight=1.1).loss_at_start() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("values", EXTREMES)
def test_loss_and_gradient_are_finite_at_extremes(name, values, dtype):
    for method in variants(name):
        chosen, rejected = extreme(*values[:2], dtype), extreme(*values[2:], dtype)
        others = {"mismatched": extreme(-1e4, -1e-6, dtype), "prompt": extreme(*values[:2], dtype)}
        pairs = carried(method, Pairs(chosen, rejected, **others, noise=torch.full((2,), 0.5)))
        loss_B = method.loss(pairs)
        loss_B.sum().backward()
        assert loss_B.dtype == torch.float32
        assert torch.isfinite(loss_B).all(), method
        for reward_B in method.rewards(pairs):
            assert torch.isfinite(reward_B).all(), method
        for side in (chosen, rejected, pairs.prompt):
            for values_BT in (side.policy, side.forward_kl):
                assert values_BT.grad is None or torch.isfinite(values_BT.grad).all(), method


def test_sums_of_bfloat16_are_float32() -> None:
    """300 tokens of -1.0078125 (exact in bfloat16): a bfloat16 running sum would stall at -256."""
    policy_BT = torch.full((1, 300), -1.0078125, dtype=torch.bfloat16)
    assert Responses(policy_BT).logp().item() == pytest.approx(-302.34375, abs=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_rewards_have_the_length_of_their_sides(name: str) -> None:
    """Rewards are detached; where single responses may come, the sides may differ."""
    method, whole = METHODS[name](), batch()
    if method.needs.unpaired:
        whole = dataclasses.replace(whole, chosen=responses(1, num=2), rejected=responses(2, num=3))
    pairs = carried(method, whole)
    chosen_B, rejected_B = method.rewards(pairs)
    assert not chosen_B.requires_grad and not rejected_B.requires_grad
    sides = len(pairs.chosen.policy), len(pairs.rejected.policy)
    assert (len(chosen_B), len(rejected_B)) == sides
    per_response = method.needs.unit == "response"
    assert method.loss(pairs).shape == (sum(sides) if per_response else sides[0],)
    assert method.loss(pairs).requires_grad


@pytest.mark.parametrize(
    ("method", "expected"),
    [(METHODS["dpo"](beta=0.5), (0.5 * 1.5, 0.5 * -0.5)), (METHODS["ipo"](), (0.75, -0.25)),
     (METHODS["ipo"](reduction="sum"), (1.5, -0.5)), (METHODS["kto"](beta=0.5), (0.75, -0.25)),
     (METHODS["cpo"](beta=0.5), (-0.5 * 3.0, -0.5 * 4.0)),
     (METHODS["simpo"](beta=2.0), (2 * -1.5, 2 * -2.0))],
)  # fmt: skip
def test_rewards_by_hand(method: Method, expected: tuple[float, float]) -> None:
    chosen = Responses(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-2.0, -2.5]]))
    rejected = Responses(torch.tensor([[-3.0, -1.0]]), torch.tensor([[-2.5, -1.0]]))
    found = method.rewards(Pairs(chosen, rejected))
    assert tuple(float(r) for r in found) == pytest.approx(expected)


def test_kto_has_a_loss_per_response_of_unequal_sides() -> None:
    pairs = Pairs(responses(1, num=3), responses(2, num=1), responses(3, num=4))
    assert METHODS["kto"]().loss(pairs).shape == (4,)
    empty = Responses(torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, 1, dtype=torch.bool))
    desirable = METHODS["kto"]().loss(Pairs(responses(1, num=3), empty, responses(3, num=3)))
    assert desirable.shape == (3,) and torch.isfinite(desirable).all()


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        Responses(torch.zeros(1, 2), mask=torch.zeros(1, 2, dtype=torch.bool)).mean_logp()
    with pytest.raises(ValueError, match="shape"):
        Responses(torch.zeros(1, 2), reference=torch.zeros(2, 1))


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_of_a_pair_does_not_depend_on_the_others(name: str) -> None:
    """Apart from declared statistics of the batch, which `whole` holds fixed."""
    index = torch.tensor([2, 1])
    for method in variants(name):
        whole = carried(method, batch(1, dtype=torch.float64))
        all_B = method.loss(whole)
        per_response = method.needs.unit == "response"
        expected_B = torch.cat([all_B[index], all_B[index + 4]]) if per_response else all_B[index]
        torch.testing.assert_close(method.loss(rows(whole, index, whole)), expected_B)


@pytest.mark.parametrize("name", METHODS)
def test_of_the_whole_batch_only_what_is_declared_is_read(name: str) -> None:
    """Of the rest there are masks and references: the policy's values are not known beforehand."""
    for method in variants(name):
        whole, declared = carried(method, batch(1, dtype=torch.float64)), method.needs.whole_batch
        unknown = {
            side: of_all(whole, policy=torch.full((4, 6), NAN), forward_kl=None, collision=None)
            for side in (["chosen", "rejected"] if "pairs" not in declared else [])
        }
        less = dataclasses.replace(
            whole,
            **{side: getattr(given, side) for side, given in unknown.items()},
            **({} if "mismatched" in declared else {"mismatched": None}),
        )
        index = torch.tensor([3, 0])
        expected_B = method.loss(rows(whole, index, whole))
        torch.testing.assert_close(method.loss(rows(whole, index, less)), expected_B)


@pytest.mark.parametrize("what", [*OF_A_RESPONSE, *OF_A_PAIR])
@pytest.mark.parametrize("name", METHODS)
def test_needs_say_what_the_loss_reads(name: str, what: str) -> None:
    """What is declared is asked for by name; without the rest the loss is the same."""
    for method in variants(name):
        whole = batch(1, dtype=torch.float64)
        if getattr(method.needs, what):
            with pytest.raises(ValueError, match=what):
                method.loss(carried(method, without(whole, what)))
        else:
            expected_B = method.loss(carried(method, whole))
            found_B = method.loss(carried(method, without(whole, what)))
            torch.testing.assert_close(found_B, expected_B)
            assert torch.isfinite(found_B).all()
