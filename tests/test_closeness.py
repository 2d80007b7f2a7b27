"""What the comparison of floats lets pass, which is rounding, and what it does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from closeness import assert_gradients_near, assert_near, assert_rows_near, size_of

ROW = {"loss": 9.6, "logp/chosen": -39.1, "drift/chosen": 0.3, "entropy": 5.1, "length/chosen": 4.5}


def terms() -> torch.Tensor:
    """Eight sums of 300 terms whose largest is 50."""
    drawn = torch.rand(300, 8, generator=torch.Generator().manual_seed(0))
    return (drawn - 0.5) * torch.linspace(-100, 100, 300)[:, None]


def test_another_order_of_a_sum_passes_and_a_fixed_tolerance_would_not_do() -> None:
    forth, back = torch.zeros(8), torch.zeros(8)
    for term, last in zip(terms(), terms().flip(0), strict=True):
        forth, back = forth + term, back + last
    assert 1e-5 < size_of(forth - back), "what 1e-5 would not allow"
    for scale in (1.0, 1e-6, 1e6):
        assert_near(scale * back, scale * forth)
    rest = forth - forth.double().round().float()  # below 1/2, and as far off as all of it
    with pytest.raises(AssertionError, match="apart"):
        assert_near(rest + (back - forth), rest)
    assert_near(rest + (back - forth), rest, size=size_of(forth))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("change", [-1.0, 1.001, 0.999, 0.0, math.nan, math.inf])
def test_a_defect_fails_at_any_size(scale: float, change: float) -> None:
    expected = scale * terms().sum(0)
    assert_near(expected.clone(), expected)
    for found in (change * expected, torch.where(expected == expected.max(), change, 1) * expected):
        with pytest.raises(AssertionError, match="apart"):
            assert_near(found, expected)
        with pytest.raises(AssertionError, match="weight.*apart"):
            assert_gradients_near({"weight": found}, {"weight": expected})


@pytest.mark.parametrize("name", ROW)
def test_a_row_is_the_same_up_to_the_rounding_of_its_log_probs(name: str) -> None:
    assert_rows_near(ROW, dict(ROW))
    for change in (1.001, -1.0):
        with pytest.raises(AssertionError, match=f"{name}.*apart"):
            assert_rows_near(ROW | {name: change * ROW[name]}, ROW)
    with pytest.raises(AssertionError):
        assert_rows_near({n: v for n, v in ROW.items() if n != name}, ROW)


@pytest.mark.parametrize(
    ("found", "expected"),
    [(1e-30, 0.0), (torch.zeros(2), torch.zeros(3)), (1.0, math.nan), (math.inf, math.inf)],
)
def test_what_has_no_size_or_another_shape_is_not_near(found: Any, expected: Any) -> None:
    with pytest.raises(AssertionError):
        assert_near(found, expected)
    assert_near(0.0, 0.0)
