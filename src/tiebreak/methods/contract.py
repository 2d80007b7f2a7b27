"""The interface of a method, and the declarations that its file uses. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class Needs:
    """The inputs that a method asks the engine for: exactly those that its loss uses.

    reference         the start model's log-probs of each response
    forward_kl        KL(reference || policy) at every response token, over the vocabulary
    mismatched        a response to another prompt in every row, with its reference log-probs
    prompt            log-probs of the prompt's tokens
    collision         log of the sum of squared probabilities of the policy at every response token
    ranked            lists of so many responses with scores; a pair is a list of 2. 0: pairs only
    unpaired          can train on single labelled responses, too
    whole_batch       "mismatched", "pairs": scored for the whole optimiser batch before the loss
    moving_reference  the reference is a copy that `reference_share` moves towards the policy
    unit              what the loss has one entry for: "pair", or "response" (both sides count)
    """

    reference: bool = True
    forward_kl: bool = False
    mismatched: bool = False
    prompt: bool = False
    collision: bool = False
    ranked: int = 0
    unpaired: bool = False
    whole_batch: tuple[str, ...] = ()
    moving_reference: bool = False
    unit: str = "pair"

    @property
    def live(self) -> bool:
        """Whether the reference model must be loaded in training; else stored log-probs suffice."""
        return self.forward_kl or self.moving_reference

    def words(self) -> list[str]:
        """The needs in words, for the catalogue."""
        flags = {
            "reference": self.reference and not self.live,
            "live reference": self.live and not self.moving_reference,
            "moving reference": self.moving_reference,
            "KL over the vocabulary": self.forward_kl,
            "mismatched completions": self.mismatched,
            "prompt log-probs": self.prompt,
            "statistics of the policy's distribution": self.collision,
            "pairs": not self.unpaired and not self.ranked,
            "pairs or ranked lists": self.ranked > 0,
            "pairs or single labelled responses": self.unpaired,
            "whole-batch statistics": bool(self.whole_batch),
        }
        return [word for word, needed in flags.items() if needed]


@dataclass(frozen=True)
class Method:
    """Base of every method: a frozen dataclass whose fields are its hyper-parameters.

    name, summary  what it is called, and one line for the catalogue
    start_loss     the loss before the first update, in words
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    start_loss: ClassVar[str] = "no fixed value: it depends on the start model"

    @property
    def needs(self) -> Needs:
        """The inputs it asks for: a class attribute where they do not depend on its fields."""
        return Needs()

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) one loss per unit, differentiable in the policy."""
        raise NotImplementedError

    def reward(self, responses: Responses) -> Tensor:
        """(B,) the method's own implicit reward of each response."""
        raise NotImplementedError

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(chosen (B,), rejected (B,)): the implicit rewards, detached."""
        return self.reward(pairs.chosen).detach(), self.reward(pairs.rejected).detach()

    def carry(self, batch: Pairs, before: Mapping[str, float]) -> dict[str, float]:
        """The statistics of this step, where a method's run on from one optimiser step to the next.

        batch: the whole optimiser batch, detached; before: the last step's statistics, {} at first.
        """
        return {}

    def reference_share(self, step: int) -> float:
        """The policy's share in the reference after update `step` (from 1), from 0 to 1:
        reference <- share * policy + (1 - share) * reference."""
        return 0.0

    def loss_at_start(self) -> float | None:
        """The mean loss while policy and reference are equal; None when it is not a constant."""
        return {"ln 2": math.log(2), "1": 1.0}.get(self.start_loss)


@dataclass(frozen=True)
class DriftRewards(Method):
    """Base of the methods whose implicit reward is beta * drift; they give beta its default."""

    beta: float

    def reward(self, responses: Responses) -> Tensor:
        """(B,) beta * drift."""
        return self.beta * responses.drift()


def hyperparameter(
    default: Any,
    source: str,
    *,
    options: tuple[str, ...] = (),
    search: list[Any] | dict[str, Any] | None = None,
    introduced: Any = None,
    **check: float,
) -> Any:
    """A field of a method: a default with its source, and the values that make sense.

    source      the paper or the code that the default is taken from
    options     the words it may be
    search      the values that sweeps try, as a list or as {"low": 0.1, "high": 1.0, "log": True}
    introduced  the first default, where that was another: ids hash what differs from it
    check       `above=` and `below=` exclusive bounds, `at_least=` and `at_most=` inclusive ones
    """
    metadata = {"source": source, "options": options, "search": search, "check": check}
    metadata |= {} if introduced is None else {"introduced": introduced}
    return field(default=default, metadata=metadata)
