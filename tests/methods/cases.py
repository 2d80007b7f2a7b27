"""Hand-made responses for the closed-form tests, as plain lists and as what methods see.

An oracle is the paper's equation in plain numbers: `oracle(x, at, **hyperparameters)` gives the
losses of one pair, one per unit, in mpmath's arithmetic. `x` is what is differentiated; `at` holds
the same values and stands wherever the paper stops the gradient.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from mpmath import mp, mpf

from tiebreak.methods import Method, Pairs, Responses

mp.dps = 40
NAN = float("nan")


@dataclass
class Side:
    """One response, token by token: log-probs, and what only some methods ask for."""

    policy: list[Any]
    reference: list[Any]
    forward_kl: list[Any] = field(default_factory=list)
    collision: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.policy)
        self.forward_kl = self.forward_kl or [0.05 * (i % 4) + 0.01 for i in range(n)]
        self.collision = self.collision or [-0.3 - 0.2 * (i % 3) for i in range(n)]

    @property
    def length(self) -> int:
        return len(self.policy)

    @property
    def logp(self) -> Any:
        return mp.fsum(self.policy)

    @property
    def mean_logp(self) -> Any:
        return self.logp / self.length

    @property
    def drift(self) -> Any:
        return self.logp - mp.fsum(self.reference)

    @property
    def mean_drift(self) -> Any:
        return self.drift / self.length

    @property
    def total_kl(self) -> Any:
        return mp.fsum(self.forward_kl)


@dataclass
class Case:
    """One pair, with a prompt and a mismatched response beside it."""

    chosen: Side
    rejected: Side
    mismatched: Side = field(default_factory=lambda: Side([-2.0, -1.0], [-2.4, -1.9]))
    prompt: list[Any] = field(default_factory=lambda: [-3.0, -0.5, -1.5])

    @property
    def h(self) -> Any:
        """Drift of the chosen minus drift of the rejected response."""
        return self.chosen.drift - self.rejected.drift


CASES = {
    "ragged": Case(Side([-1.2, -0.3, -2.5], [-1.0, -0.9, -2.3]),
                   Side([-0.7] * 5, [-0.2, -1.1, -0.4, -0.8, -0.6])),
    "one token": Case(Side([-0.4], [-1.3]), Side([-2.2], [-2.0])),
    "equal up to one token": Case(Side([-1.0, -0.5, -3.0], [-1.1, -0.6, -2.0]),
                                  Side([-1.0, -0.5, -0.2], [-1.1, -0.6, -0.9])),
    "chosen far below reference": Case(Side([-30.0, -25.0], [-1.0, -2.0]),
                                       Side([-1.5, -0.5], [-1.4, -0.6])),
    "log-prob about -200": Case(Side([-5.0] * 40, [-4.9] * 40), Side([-5.1] * 38, [-5.2] * 38)),
    "mismatched below": Case(Side([-1.0, -0.6], [-1.2, -0.9]), Side([-0.9, -2.0], [-0.8, -1.1]),
                             Side([-9.0, -8.0], [-3.0, -2.0])),
}  # fmt: skip


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def log_sigmoid(x: Any) -> Any:
    return -mp.log1p(mp.exp(-x))


def positive_part(x: Any) -> Any:
    return max(mpf(0), x)


def exact(case: Case) -> Case:
    """The same numbers in 40 digits; what floats stand for, not what they were written as."""
    case = copy.deepcopy(case)
    for side in (case.chosen, case.rejected, case.mismatched):
        for name in ("policy", "reference", "forward_kl", "collision"):
            setattr(side, name, [mpf(v) for v in getattr(side, name)])
    case.prompt = [mpf(v) for v in case.prompt]
    return case


def slopes(oracle: Any, case: Case, values: list[Any], settings: dict[str, Any]) -> list[float]:
    """Derivatives of the summed losses by each of `values`, a list inside `case`."""
    at, step, found = copy.deepcopy(case), mpf(10) ** -13, []
    for i, value in enumerate(values):
        ends = []
        for sign in (1, -1):
            values[i] = value + sign * step
            ends.append(mp.fsum(oracle(case, at, **settings)))
        values[i] = value
        found.append(float((ends[0] - ends[1]) / (2 * step)))
    return found


def responses(side: Side, pad: int = 2) -> Responses:
    """(1, T), padded with NaN: padding must never enter."""
    width = side.length + pad

    def tensor(values: list[Any]) -> torch.Tensor:
        return torch.tensor([[*values, *[NAN] * (width - len(values))]], dtype=torch.float64)

    return Responses(
        policy=tensor(side.policy).requires_grad_(),
        reference=tensor(side.reference),
        mask=torch.arange(width)[None] < side.length,
        forward_kl=tensor(side.forward_kl).requires_grad_(),
        collision=tensor(side.collision),
    )


def pairs_of(case: Case, method: Method) -> Pairs:
    """The case as a whole optimiser batch, statistics carried from nothing."""
    prompt = torch.tensor([case.prompt], dtype=torch.float64)
    pairs = Pairs(
        responses(case.chosen),
        responses(case.rejected),
        mismatched=responses(case.mismatched),
        prompt=Responses(prompt.requires_grad_()),
        noise=torch.tensor([0.5], dtype=torch.float64),
    )
    carry = getattr(method, "carry", None)
    if carry is not None:
        pairs.carried.update(carry(pairs, {}))  # type: ignore[attr-defined]
    return pairs
