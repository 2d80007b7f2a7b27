"""Equality of floats that two computations reach on different ways, by the size of their terms.

Float32 has 24 bits, so a sum of terms of size S is off by some 2^-24 S per rounding, and how far
depends on the order of the terms: on the cut of a batch, on its padding, and on the processor,
whose instructions add 4 numbers at a time (SSE, NEON), 8 (AVX2) or 16 (AVX-512). What is left of
the sum has no say in it: an element of 0.05 in a gradient whose largest element is 7 is off by as
much as the 7, and a loss with a penalty of 50 passes on 50 times what its log-probs are off by.

So a tolerance here is a share of a size, without a constant part: a fixed 1e-5 is less than
rounding beside 50, and passes for anything beside 1e-5. The size is the largest magnitude among
the expected values. Where these are small differences of large terms, the caller gives the terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

# Of values: up to 1.1e-6 is seen, on AVX2, on SSE2 and between cuts. Of gradients: up to 6e-6, for
# each element has gone forth and back through all layers.
WITHIN, OF_GRADIENTS = 5e-6, 3e-5
# Of what a row of metrics says of whole log-probs, whose size is a sum of many: up to 1.5e-7.
OF_ROWS = 1e-6
TERMS = ("loss", "logp/", "drift/", "reward/", "kl/")
EXACT = ("reward/accuracy", "length/", "displaced/", "learning_rate")


def size_of(values: Any) -> float:
    """The largest magnitude among numbers, tensors and whatever holds them."""
    if isinstance(values, torch.Tensor):
        return values.detach().abs().max().item() if values.numel() else 0.0
    if isinstance(values, Mapping):
        return size_of(values.values())
    if isinstance(values, Iterable):
        return max((size_of(value) for value in values), default=0.0)
    return abs(values)


def assert_near(
    found: Any, expected: Any, *, size: float | None = None, within: float = WITHIN, what: str = ""
) -> None:
    """Two tensors, or two numbers, differ by at most `within` times `size` and have one shape.

    size: the largest magnitude of what was added up; that of the expected values by default.
    """
    found, expected = (torch.as_tensor(value).detach().double() for value in (found, expected))
    assert found.shape == expected.shape, what
    size = size_of(expected) if size is None else size
    assert math.isfinite(size), f"{what}: nothing can be compared with {size}"
    apart = size_of(found - expected)
    # "not within" rather than "beyond": NaN is neither.
    assert apart <= within * size, f"{what}: {apart:.3g} apart, {within * size:.3g} allowed"


def assert_gradients_near(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    """The same parameters have a gradient, each within a share of its own largest element."""
    assert set(found) == set(expected)
    for name, want in expected.items():
        assert_near(found[name], want, within=OF_GRADIENTS, what=name)


def assert_rows_near(
    found: Mapping[str, float], expected: Mapping[str, float], within: float = OF_ROWS
) -> None:
    """Two rows of `metrics.jsonl` have the same names and values.

    Every loss, reward and drift is made of log-probs and may be any small difference of them, so
    the size of each is that of the largest of them all. Counts and shares are the same.
    """
    assert set(found) == set(expected)
    terms = size_of(value for name, value in expected.items() if name.startswith(TERMS))
    for name, want in expected.items():
        if name.startswith(TERMS):
            assert_near(found[name], want, size=terms, within=within, what=name)
        else:
            share = 1e-12 if name.startswith(EXACT) else OF_GRADIENTS
            assert_near(found[name], want, within=share, what=name)
