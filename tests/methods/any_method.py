"""What the tests over all methods share: settings to try, and random responses with everything."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any

import torch

from tiebreak.config.typed import Choice, search_space
from tiebreak.methods import METHODS, Method, Pairs, Responses

BOUNDS = {
    "above": operator.gt,
    "below": operator.lt,
    "at_least": operator.ge,
    "at_most": operator.le,
}
OF_A_RESPONSE = ("reference", "forward_kl", "collision")
OF_A_PAIR = ("mismatched", "prompt")
NAN = float("nan")


def fields(name: str) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(METHODS[name])}


def others(name: str, key: str) -> list[Any]:
    """Allowed values that are not the default: those worth trying, then some made from it."""
    field, space = fields(name)[key], search_space(name).get(key)
    default, made = field.default, []
    if isinstance(default, bool):
        made = [not default]
    elif isinstance(default, int):
        made = [2 * default, default // 2]
    elif isinstance(default, float):
        made = [2 * default, default / 2] if default else [0.5, 0.25]
    if space is not None:
        made = [*(space.values if isinstance(space, Choice) else (space.low, space.high)), *made]
    checks = field.metadata["check"].items()
    return [
        value
        for value in [*field.metadata["options"], *made]
        if value != default and all(BOUNDS[check](value, limit) for check, limit in checks)
    ]


def variants(name: str) -> list[Method]:
    """The method at its defaults, and with each other value of each hyper-parameter alone.

    Lists of more than two responses are left to the tests of the methods that take them.
    """
    settings = [{}, *({key: value} for key in fields(name) for value in others(name, key))]
    made = [METHODS[name](**one) for one in settings]
    return [method for method in made if method.needs.ranked <= 2]


def responses(
    seed: int, num: int = 4, width: int = 6, dtype: torch.dtype = torch.float32, scale: float = 5.0
) -> Responses:
    """Ragged random responses; padding is NaN, as it must never enter."""
    generator = torch.Generator().manual_seed(seed)
    lengths_B = torch.randint(1, width + 1, (num,), generator=generator)
    mask_BT = torch.arange(width)[None] < lengths_B[:, None]

    def random(factor: float) -> torch.Tensor:
        values_BT = factor * torch.rand(num, width, generator=generator)
        return values_BT.masked_fill(~mask_BT, NAN).to(dtype)

    return Responses(
        policy=random(-scale).requires_grad_(),
        reference=random(-scale),
        mask=mask_BT,
        forward_kl=random(0.3).requires_grad_(),
        collision=random(-1.0),
    )


def batch(seed: int = 0, num: int = 4, **how: Any) -> Pairs:
    """A whole optimiser batch with all that any method asks for, apart from what it carries."""
    sides = [responses(10 * seed + i, num, **how) for i in range(4)]
    noise_B = torch.rand(num, generator=torch.Generator().manual_seed(seed))
    return Pairs(sides[0], sides[1], mismatched=sides[2], prompt=sides[3], noise=noise_B)


def carried(method: Method, pairs: Pairs, before: dict[str, float] | None = None) -> Pairs:
    """The batch with the method's statistics of this step."""
    carry: Any = getattr(method, "carry", None)
    return (
        pairs if carry is None else dataclasses.replace(pairs, carried=carry(pairs, before or {}))
    )


def of_all(pairs: Pairs, **changes: Any) -> Pairs:
    """Every response of the batch with these fields instead."""
    names = ("chosen", "rejected", *OF_A_PAIR)
    return dataclasses.replace(
        pairs, **{name: dataclasses.replace(getattr(pairs, name), **changes) for name in names}
    )


def without(pairs: Pairs, what: str) -> Pairs:
    """The batch as the engine would give it to a method that does not declare `what`."""
    if what in OF_A_PAIR:
        return dataclasses.replace(pairs, **{what: None})
    return of_all(pairs, **{what: None})


def rows(pairs: Pairs, index: torch.Tensor, whole: Pairs) -> Pairs:
    """A cut: those rows of the batch."""

    def cut(side: Responses | None) -> Responses | None:
        if side is None:
            return None
        given = {f.name: getattr(side, f.name) for f in dataclasses.fields(side)}
        return Responses(**{n: None if v is None else v[index] for n, v in given.items()})

    sides = {name: cut(getattr(pairs, name)) for name in ("chosen", "rejected", *OF_A_PAIR)}
    assert pairs.noise is not None
    return Pairs(**sides, noise=pairs.noise[index], whole=whole, index=index)  # type: ignore[arg-type]


def same_as_reference(pairs: Pairs) -> Pairs:
    """Every response as it is before the first update."""
    sides = {}
    for name in ("chosen", "rejected", *OF_A_PAIR):
        side = getattr(pairs, name)
        nothing = torch.zeros_like(side.reference)
        sides[name] = dataclasses.replace(side, policy=side.reference, forward_kl=nothing)
    return dataclasses.replace(pairs, **sides)


def extreme(policy: float, reference: float, dtype: torch.dtype) -> Responses:
    """(2, 3) responses without padding; the KL is as large as the drift."""

    def full(value: float) -> torch.Tensor:
        return torch.full((2, 3), value, dtype=dtype)

    return Responses(
        policy=full(policy).requires_grad_(),
        reference=full(reference),
        forward_kl=full(abs(policy - reference)).requires_grad_(),
        collision=full(-0.7),
    )
