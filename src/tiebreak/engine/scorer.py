"""From row numbers to scored `Pairs`: what the trainer does with each part of a batch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tiebreak.data.tokens import Tokens
from tiebreak.engine import rows as row_layout
from tiebreak.engine.cuts import cut
from tiebreak.engine.reference import ReferenceTable, live
from tiebreak.engine.rows import Branches
from tiebreak.engine.scoring import Scores, pad, score
from tiebreak.methods import Pairs, Responses


@dataclass(frozen=True)
class TrainingData:
    """Token ids with what the methods may ask beside them.

    reference    log-probs of every response; None: not asked for
    partners     per row, the (row, branch) of its mismatched response; None: not asked for
    mismatched   reference log-probs of those, one branch per row
    live         take reference log-probs from the policy with its adapter off, not from tables
    """

    tokens: Tokens
    reference: ReferenceTable | None = None
    partners: Sequence[tuple[int, int]] | None = None
    mismatched: ReferenceTable | None = None
    live: bool = False

    @functools.cached_property
    def paired(self) -> bool:
        return all(label is None for label in self.tokens.labels)

    def branches(self, row: int) -> Branches:
        return Branches(self.tokens.prompts[row], self.tokens.responses[row])

    def mismatched_branches(self, row: int) -> Branches:
        assert self.partners is not None
        other, branch = self.partners[row]
        return Branches(self.tokens.prompts[row], [self.tokens.responses[other][branch]])

    def sides(self, rows: Sequence[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(chosen, rejected): which (row, branch) stands on which side."""
        chosen, rejected = [], []
        for row in rows:
            label = self.tokens.labels[row]
            if label is None:
                chosen.append((row, 0))
                rejected.append((row, 1))
            else:
                (chosen if label else rejected).append((row, 0))
        return chosen, rejected


@dataclass
class Scorer:
    """Scores rows of one data set with one model, and counts the positions that took."""

    data: TrainingData
    pad_id: int
    budget: int
    overhead: int
    positions: int = 0
    unique_tokens: int = 0

    def cuts(self, rows: Sequence[int]) -> list[list[int]]:
        lengths = [self.data.branches(row).positions() for row in rows]
        return [[rows[i] for i in part] for part in cut(lengths, self.budget, self.overhead)]

    def take_counts(self) -> tuple[Tensor, float]:
        """(positions through the network, unique tokens) since the last call."""
        counts = torch.tensor(float(self.positions)), float(self.unique_tokens)
        self.positions = self.unique_tokens = 0
        return counts

    def pairs(self, model: Any, rows: Sequence[int], whole: Pairs | None) -> tuple[Pairs, Scores]:
        """Score one cut, with gradient."""
        branches = [self.data.branches(row) for row in rows]
        layout = row_layout.build(branches, self.pad_id).to(_device(model))
        self.positions += layout.input_ids.numel()
        self.unique_tokens += sum(b.positions() + 1 for b in branches)
        scores = score(model, layout)
        where = [(row, k) for row, b in zip(rows, branches, strict=True) for k in _all(b)]
        policy = dict(zip(where, scores.logp, strict=True))
        reference = self._reference(model, layout, where)
        chosen, rejected = self.data.sides(rows)
        sides = [_responses(policy, reference, side, scores.logp[0]) for side in (chosen, rejected)]
        return Pairs(sides[0], sides[1], whole=whole), scores

    def mismatched(self, model: Any, rows: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """(policy, reference) log-probs of each row's mismatched response, without gradient."""
        branches = [self.data.mismatched_branches(row) for row in rows]
        result: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(rows)
        for part in cut([b.positions() for b in branches], self.budget, self.overhead):
            layout = row_layout.build([branches[i] for i in part], self.pad_id).to(_device(model))
            self.positions += layout.input_ids.numel()
            with torch.no_grad():
                policy = score(model, layout).logp
            reference = self._mismatched_reference(model, layout, [rows[i] for i in part])
            for i, p, r in zip(part, policy, reference, strict=True):
                result[i] = (p, r)
        return result

    def _reference(self, model: Any, layout: Any, where: list) -> dict | None:
        if self.data.live:
            with live(_unwrapped(model)) as reference_model:
                return dict(zip(where, score(reference_model, layout).logp, strict=True))
        if self.data.reference is None:
            return None
        return {at: self.data.reference.get(*at).to(_device(model)) for at in where}

    def _mismatched_reference(self, model: Any, layout: Any, rows: list[int]) -> list[Tensor]:
        if self.data.live:
            with live(_unwrapped(model)) as reference_model:
                return score(reference_model, layout).logp
        assert self.data.mismatched is not None
        return [self.data.mismatched.get(row, 0).to(_device(model)) for row in rows]


def masks_only(data: TrainingData, rows: Sequence[int]) -> Pairs:
    """The whole batch before anything is scored: masks are right, log-probs are NaN on purpose."""
    sides = []
    for side in data.sides(rows):
        lengths = [len(data.tokens.responses[row][branch]) for row, branch in side]
        values = [torch.full((n,), float("nan")) for n in lengths] or [torch.empty(0)]
        policy_BT, mask_BT = pad(values)
        sides.append(Responses(policy_BT[: len(lengths)], None, mask_BT[: len(lengths)]))
    return Pairs(sides[0], sides[1])


def stack(scored: list[tuple[Tensor, Tensor]]) -> Responses:
    """(policy, reference) per response -> Responses."""
    policy_BT, mask_BT = pad([p for p, _ in scored])
    return Responses(policy_BT, pad([r for _, r in scored])[0], mask_BT)


def _responses(policy: dict, reference: dict | None, side: list, like: Tensor) -> Responses:
    if not side:
        empty_BT = like.new_zeros((0, 1))
        mask_BT = torch.zeros((0, 1), dtype=torch.bool, device=like.device)
        return Responses(empty_BT, None if reference is None else empty_BT, mask_BT)
    policy_BT, mask_BT = pad([policy[at] for at in side])
    reference_BT = None if reference is None else pad([reference[at] for at in side])[0]
    return Responses(policy_BT, reference_BT, mask_BT)


def _all(branches: Branches) -> range:
    return range(len(branches.responses))


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device


def _unwrapped(model: Any) -> Any:
    return getattr(model, "module", model)
