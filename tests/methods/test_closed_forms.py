"""Each loss and its gradient against the paper's equation, in 40 digits."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, exact, pairs_of, slopes

from tiebreak.methods import METHODS

ORACLES: dict[str, tuple[Any, list[dict[str, Any]]]] = {}
for path in sorted(Path(__file__).parent.glob("oracles_*.py")):
    ORACLES |= importlib.import_module(path.stem).ORACLES
TRIED = [(name, settings) for name, (_, tried) in sorted(ORACLES.items()) for settings in tried]


def test_every_method_has_an_oracle() -> None:
    assert sorted(ORACLES) == sorted(METHODS), "give it one in a tests/methods/oracles_*.py"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "settings"), TRIED, ids=lambda v: v if v is str else None)
def test_value_and_gradient(name: str, settings: dict[str, Any], case: str) -> None:
    method, oracle = METHODS[name](**settings), ORACLES[name][0]
    every = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
    numbers, pairs = exact(CASES[case]), pairs_of(CASES[case], method)
    loss_B = method.loss(pairs)
    loss_B.sum().backward()
    expected = [float(v) for v in oracle(numbers, exact(CASES[case]), **every)]
    assert loss_B.tolist() == pytest.approx(expected, rel=1e-11, abs=1e-13)
    for side in ("chosen", "rejected"):
        ours, theirs = getattr(pairs, side), getattr(numbers, side)
        for what in ("policy", "forward_kl"):
            want = slopes(oracle, numbers, getattr(theirs, what), every)
            assert_gradient(getattr(ours, what), want, f"{name} {side} {what}")
    assert pairs.prompt is not None and pairs.mismatched is not None
    want = slopes(oracle, numbers, numbers.prompt, every)
    assert_gradient(pairs.prompt.policy, want, f"{name} prompt")
    assert pairs.mismatched.policy.grad is None, "a mismatched response carries no gradient"


def assert_gradient(values: torch.Tensor, want: list[float], what: str) -> None:
    found = torch.zeros_like(values[0]) if values.grad is None else values.grad[0]
    assert found[: len(want)].tolist() == pytest.approx(want, rel=1e-9, abs=1e-13), what
    assert not found[len(want) :].any(), f"{what}: padding has a gradient"


def test_cpo_batch_nll_divides_by_all_chosen_tokens() -> None:
    """Equation 5 as ALMA computes it: sum over the batch / tokens of the batch."""
    from tiebreak.methods import Pairs, Responses

    nan = float("nan")
    policy_BT = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, nan, nan]], dtype=torch.float64)
    mask_BT = torch.tensor([[True] * 3, [True, False, False]])
    rejected = Responses(torch.tensor([[-1.0], [-1.0]], dtype=torch.float64))
    pairs = Pairs(Responses(policy_BT, None, mask_BT), rejected)
    for nll, per_pair in (
        ("response", [2.0, 0.5]), ("sum", [6.0, 0.5]), ("batch", [6.0 / 2, 0.5 / 2])
    ):  # fmt: skip
        with_nll = METHODS["cpo"](alpha=1.0, nll=nll).loss(pairs)
        without = METHODS["cpo"](alpha=0.0, nll=nll).loss(pairs)
        assert (with_nll - without).tolist() == pytest.approx(per_pair, abs=1e-12)
    assert sum(per_pair) / 2 == pytest.approx(6.5 / 4), "the batch mean is per token"


def test_orpo_batch_nll_divides_by_all_tokens_of_the_batch() -> None:
    """As both codes compute it: the mean over prompts and chosen responses, also in cuts."""
    from tiebreak.methods import Pairs, Responses

    def of(values: list[float]) -> Responses:
        return Responses(torch.tensor([values], dtype=torch.float64))

    first = Pairs(of([-1.0, -2.0]), of([-1.0]), prompt=of([-3.0, -1.0]))  # 7 nats, 4 tokens
    second = Pairs(of([-0.5]), of([-1.0]), prompt=of([-2.5]))  # 3 nats, 2 tokens
    mask_BT = torch.tensor([[True, True], [True, False]])
    both = Responses(torch.full((2, 2), float("nan"), dtype=torch.float64), None, mask_BT)
    whole = Pairs(both, both, prompt=both)
    found = []
    for place, one in enumerate((first, second)):
        cut = dataclasses.replace(one, whole=whole, index=torch.tensor([place]))
        orpo = METHODS["orpo"](odds_ratio_weight=0.0, nll="batch")
        found.append(orpo.loss(cut).item())
    assert sum(found) / 2 == pytest.approx(10 / 6, abs=1e-12)


def test_kto_takes_z0_over_the_whole_batch_and_clamps_once() -> None:
    """Mean of -3 and +5 is 1: clamping each row first would give 2.5."""
    from tiebreak.methods import Pairs, Responses

    mismatched = Responses(
        torch.tensor([[-4.0], [-1.0]], dtype=torch.float64),
        torch.tensor([[-1.0], [-6.0]], dtype=torch.float64),
    )
    one = Responses(torch.tensor([[-1.0]]), torch.tensor([[-1.0]]))
    whole = Pairs(one, one, mismatched)
    assert METHODS["kto"]().reference_point(whole).item() == 1.0
    cut = Pairs(one, one, whole=whole)
    torch.testing.assert_close(METHODS["kto"]().loss(cut), METHODS["kto"]().loss(whole))
