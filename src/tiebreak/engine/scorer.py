"""From row numbers to scored `Pairs`: what the trainer does with each part of a batch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tiebreak.data.tokens import Tokens
from tiebreak.engine import rows as row_layout
from tiebreak.engine.batches import cut
from tiebreak.engine.reference import Live, ReferenceTable
from tiebreak.engine.rows import Branches, Layout, Rows
from tiebreak.engine.scoring import Ask, Scores, hidden_states, pad, score
from tiebreak.methods import Needs, Pairs, Responses

Place = tuple[int, int]  # (row, branch); branch PROMPT: the row's prompt
PROMPT = -1
# Field of `Responses` -> values of each place. What was not asked for is not there.
Scored = dict[str, dict[Place, Tensor]]


@dataclass(frozen=True)
class TrainingData:
    """Token ids with what the methods may ask beside them.

    reference    log-probs of every response; None: not asked for
    partners     per row, the (row, branch) of its mismatched response; None: not asked for
    mismatched   reference log-probs of those, one branch per row
    live         the reference as a model, instead of tables; None: not asked for
    """

    tokens: Tokens
    reference: ReferenceTable | None = None
    partners: Sequence[Place] | None = None
    mismatched: ReferenceTable | None = None
    live: Live | None = None

    @functools.cached_property
    def paired(self) -> bool:
        return all(label is None for label in self.tokens.labels)

    def branches(self, row: int) -> Branches:
        return Branches(self.tokens.prompts[row], self.tokens.responses[row])

    def mismatched_branches(self, row: int) -> Branches:
        assert self.partners is not None
        other, branch = self.partners[row]
        return Branches(self.tokens.prompts[row], [self.tokens.responses[other][branch]])

    def sides(self, rows: Sequence[int]) -> tuple[list[Place], list[Place]]:
        """(chosen, rejected): which (row, branch) stands on which side. Responses of a row are
        ranked, best first."""
        chosen, rejected = [], []
        for row in rows:
            label = self.tokens.labels[row]
            if label is None:
                chosen.append((row, 0))
                rejected.append((row, len(self.tokens.responses[row]) - 1))
            else:
                (chosen if label else rejected).append((row, 0))
        return chosen, rejected

    def pairs(self, rows: Sequence[int], scored: Scored) -> Pairs:
        """What methods see of `rows`, from the values of their places."""
        chosen, rejected = (_responses(scored, side) for side in self.sides(rows))
        prompts = [(row, PROMPT) for row in rows]
        prompt = _responses(scored, prompts) if prompts[0] in scored["policy"] else None
        if self.tokens.scores is None:
            return Pairs(chosen, rejected, prompt=prompt)
        every = range(len(self.tokens.responses[rows[0]]))
        ranked = tuple(_responses(scored, [(row, k) for row in rows]) for k in every)
        scores = torch.tensor([self.tokens.scores[row] for row in rows], dtype=torch.float64)
        device = chosen.policy.device
        return Pairs(chosen, rejected, prompt=prompt, ranked=ranked, scores=scores.to(device))

    def masks_only(self, rows: Sequence[int]) -> Pairs:
        """`rows` before anything is scored: masks are right, log-probs are NaN on purpose."""
        lengths = {(r, k): len(ids) for r in rows for k, ids in enumerate(self.tokens.responses[r])}
        lengths |= {(r, PROMPT): len(self.tokens.prompts[r]) - 1 for r in rows}
        unknown = {at: torch.full((n,), float("nan")) for at, n in lengths.items()}
        return self.pairs(rows, {"policy": unknown})


@dataclass
class Scorer:
    """Scores rows of one data set with one model, and counts the positions that took."""

    data: TrainingData
    pad_id: int
    budget: int
    overhead: int
    layout: Layout = Layout.SHARED
    positions: int = 0
    unique_tokens: int = 0

    def cuts(self, rows: Sequence[int]) -> list[list[int]]:
        lengths = [self.data.branches(row).positions(self.layout) for row in rows]
        return [[rows[i] for i in part] for part in cut(lengths, self.budget, self.overhead)]

    def take_counts(self) -> tuple[Tensor, float]:
        """(positions through the network, unique tokens) since the last call."""
        counts = torch.tensor(float(self.positions)), float(self.unique_tokens)
        self.positions = self.unique_tokens = 0
        return counts

    def pairs(
        self, model: Any, rows: Sequence[int], needs: Needs | None = None
    ) -> tuple[Pairs, Scores]:
        """Score one cut, with gradient."""
        scored, scores = self._score(model, rows, needs or Needs())
        self.unique_tokens += sum(self.data.branches(row).unique_tokens() for row in rows)
        return self.data.pairs(rows, scored), scores

    def batch(self, model: Any, rows: Sequence[int]) -> Scored:
        """Log-probs of all of `rows`, cut by cut, without gradient."""
        merged: Scored = {}
        with torch.no_grad():
            for part in self.cuts(rows):
                for name, values in self._score(model, part, Needs())[0].items():
                    merged.setdefault(name, {}).update(values)
        return merged

    def mismatched(self, model: Any, rows: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """(policy, reference) log-probs of each row's mismatched response, without gradient."""
        branches = [self.data.mismatched_branches(row) for row in rows]
        result: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(rows)
        lengths = [b.positions(self.layout) for b in branches]
        for part in cut(lengths, self.budget, self.overhead):
            built = self._build(model, [branches[i] for i in part])
            with torch.no_grad():
                policy = score(model, built).logp
            of_part = [(rows[i], 0) for i in part]
            reference = self._reference(model, built, self.data.mismatched, of_part)
            assert reference is not None
            for i, p, r in zip(part, policy, reference, strict=True):
                result[i] = (p, r)
        return result

    def _score(self, model: Any, rows: Sequence[int], needs: Needs) -> tuple[Scored, Scores]:
        branches = [self.data.branches(row) for row in rows]
        built = self._build(model, branches, needs.prompt)
        first = PROMPT if needs.prompt else 0
        where = [
            (row, k)
            for row, b in zip(rows, branches, strict=True)
            for k in range(first, len(b.responses))
        ]
        against = None
        if needs.forward_kl:
            assert self.data.live is not None, "the divergence needs the reference itself"
            with self.data.live(model) as reference_model:
                against = hidden_states(reference_model, built)
        scores = score(model, built, Ask(needs.collision, against))
        parts = {
            "policy": scores.logp,
            "reference": scores.reference
            or self._reference(model, built, self.data.reference, where),
            "forward_kl": scores.forward_kl,
            "collision": scores.collision,
        }
        given = {name: values for name, values in parts.items() if values is not None}
        return {n: dict(zip(where, v, strict=True)) for n, v in given.items()}, scores

    def _build(self, model: Any, branches: Sequence[Branches], prompt: bool = False) -> Rows:
        """Rows on the model's device, counted."""
        rows = row_layout.build(branches, self.pad_id, prompt, self.layout, self.overhead)
        self.positions += rows.positions
        return rows.to(_device(model))

    def _reference(
        self, model: Any, rows: Rows, table: ReferenceTable | None, where: list[Place]
    ) -> list[Tensor] | None:
        if self.data.live is not None:
            with self.data.live(model) as reference_model:
                return score(reference_model, rows).logp
        if table is None:
            return None
        # A prompt has no reference log-probs; nothing reads these.
        empty, device = torch.empty(0), _device(model)
        return [(empty if k == PROMPT else table.get(row, k)).to(device) for row, k in where]


def stack(scored: list[tuple[Tensor, Tensor]]) -> Responses:
    """(policy, reference) per response -> Responses."""
    policy_BT, mask_BT = pad([p for p, _ in scored])
    return Responses(policy_BT, pad([r for _, r in scored])[0], mask_BT)


def _responses(scored: Mapping[str, Mapping[Place, Tensor]], side: Sequence[Place]) -> Responses:
    """The values of some places, padded; a prompt has policy log-probs only."""
    names = [n for n in scored if n == "policy" or not side or side[0][1] != PROMPT]
    if not side:
        like = next(iter(scored["policy"].values()))
        empty_BT = like.new_zeros((0, 1))
        mask_BT = torch.zeros((0, 1), dtype=torch.bool, device=like.device)
        return Responses(**dict.fromkeys(names, empty_BT), mask=mask_BT)
    padded = {name: pad([scored[name][at] for at in side]) for name in names}
    return Responses(**{n: values for n, (values, _) in padded.items()}, mask=padded["policy"][1])


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
