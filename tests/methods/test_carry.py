"""Statistics of the optimiser batch: carried from step to step, and shared by its cuts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tiebreak.methods import METHODS, Method, Pairs, Responses

OVER_THE_BATCH = [
    name
    for name, cls in METHODS.items()
    if cls.carry is not Method.carry or "pairs" in cls().needs.whole_batch
]


def drifted(drifts: list[float]) -> Responses:
    """One-token responses with these drifts."""
    reference_BT = torch.tensor([[-40.0 + i] for i in range(len(drifts))], dtype=torch.float64)
    drift_BT = torch.tensor([drifts], dtype=torch.float64).T
    return Responses(reference_BT + drift_BT, reference_BT)


def test_bco_delta_is_the_mean_reward_since_the_first_step() -> None:
    """Rewards 0.1 * (1, 3, -1, -2), then 0.1 * (4, 6, 0), a single labelled response among them."""
    method: Any = METHODS["bco"](beta=0.1)
    first = method.carry(Pairs(drifted([1, 3]), drifted([-1, -2])), {})
    assert first == pytest.approx({"count": 4, "delta": 0.025})
    batch = Pairs(drifted([4, 6]), drifted([0]))
    second = method.carry(batch, first)
    assert second == pytest.approx({"count": 7, "delta": 0.1 * 11 / 7})
    pairs = Pairs(batch.chosen, batch.rejected, carried=second)
    x = 0.1 * torch.tensor([4.0, 6.0, 0.0], dtype=torch.float64) - 0.1 * 11 / 7
    expected = torch.log1p(torch.exp(x * torch.tensor([-1.0, -1.0, 1.0])))
    torch.testing.assert_close(method.loss(pairs), expected)


def test_bco_without_its_running_mean_says_so() -> None:
    pairs = Pairs(drifted([1]), drifted([2]))
    with pytest.raises(ValueError, match="carried="):
        METHODS["bco"]().loss(pairs)


@pytest.mark.parametrize("name", OVER_THE_BATCH)
def test_a_cut_has_the_losses_it_has_in_the_whole_batch(name: str) -> None:
    method: Any = METHODS[name]()
    before = method.carry(batch(6, seed=1), {})
    whole = batch(6, carried=method.carry(batch(6), before))
    expected = method.loss(whole)
    per_response = method.needs.unit == "response"
    for index in (torch.tensor([4, 1]), torch.tensor([0, 2, 3, 5])):
        cut = batch(6, index=index, whole=whole)
        places = torch.cat([index, index + 6]) if per_response else index
        torch.testing.assert_close(method.loss(cut), expected[places])


def batch(size: int, seed: int = 0, index: torch.Tensor | None = None, **given: Any) -> Pairs:
    """Random responses of ragged length; with `index`, those rows of them."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(size) if index is None else index

    def responses() -> Responses:
        def numbers() -> torch.Tensor:
            return torch.rand(size, 5, generator=generator, dtype=torch.float64)

        length_B = torch.randint(1, 6, (size,), generator=generator)
        mask_BT = torch.arange(5)[None] < length_B[:, None]
        fields = (-3 * numbers(), -3 * numbers(), mask_BT, 0.1 * numbers(), -numbers())
        return Responses(*(field[index] for field in fields))

    sides = [responses() for _ in range(4)]
    noise_B = torch.rand(size, generator=generator, dtype=torch.float64)[index]
    return Pairs(*sides, noise=noise_B, index=index if "whole" in given else None, **given)
