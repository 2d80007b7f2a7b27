"""A prompt and its branches, in one row.

    [ prompt | response 1 without its last token | last prompt token again | response 2 ... ]

A branch begins with the last prompt token, so that ordinary next-token prediction scores the
first response token too; the last response token predicts nothing and is left out. A branch sees
the prompt and itself, never its sibling, and its positions continue the prompt's. Two responses
therefore cost the prompt once.

Shape legend: R rows, L positions (padded on the right), N scored positions, B responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branches:
    """One prompt with K responses, as token ids; each at least one token long."""

    prompt: Sequence[int]
    responses: Sequence[Sequence[int]]

    def positions(self) -> int:
        """Positions the row takes through the network."""
        return len(self.prompt) + sum(len(r) for r in self.responses) - 1


@dataclass(frozen=True)
class Rows:
    """A micro-batch of rows, ready for a causal language model. input_ids, position_ids (R, L);
    attention_mask (R, 1, L, L) bool, True where seen; scored (R, L) True where the next token is
    scored: one of a response, and where asked for one of the prompt; targets (N,) those tokens, in
    reading order; lengths: how many of them belong to each prompt (asked for) and response, in the
    same order."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    scored: Tensor
    targets: Tensor
    lengths: list[int]

    def to(self, device: torch.device) -> Rows:
        tensors = (self.input_ids, self.position_ids, self.attention_mask, self.scored)
        moved = [t.to(device) for t in tensors]
        return Rows(*moved, self.targets.to(device), self.lengths)

    def split(self, flat_N: Tensor) -> list[Tensor]:
        """Values at scored positions -> one 1-D tensor per entry of `lengths`."""
        return list(flat_N.split(self.lengths))


def build(branches: Sequence[Branches], pad_id: int, prompt: bool = False) -> Rows:
    """Lay out rows on the CPU. `prompt`: score the prompt's tokens after its first, too."""
    rows, length = len(branches), max(b.positions() for b in branches)
    input_ids_RL = torch.full((rows, length), pad_id)
    position_ids_RL = torch.zeros((rows, length), dtype=torch.long)
    branch_RL = torch.full((rows, length), -1)  # 0 prompt, 1.. branches, -1 padding
    scored_RL = torch.zeros((rows, length), dtype=torch.bool)
    targets: list[int] = []
    lengths: list[int] = []
    for i, row in enumerate(branches):
        ids, positions, branch, starts = _layout(row)
        used = len(ids)
        input_ids_RL[i, :used] = torch.tensor(ids)
        position_ids_RL[i, :used] = torch.tensor(positions)
        branch_RL[i, :used] = torch.tensor(branch)
        spans = list(zip(starts, row.responses, strict=True))
        for start, span in [(0, row.prompt[1:]), *spans] if prompt else spans:
            scored_RL[i, start : start + len(span)] = True
            targets.extend(span)
            lengths.append(len(span))
    mask = _visible(branch_RL)
    return Rows(input_ids_RL, position_ids_RL, mask, scored_RL, torch.tensor(targets), lengths)


def _layout(row: Branches) -> tuple[list[int], list[int], list[int], list[int]]:
    """ids, position ids, branch number per position, and where each branch's scoring starts."""
    assert row.prompt and all(row.responses), "prompt and responses hold at least one token"
    last = len(row.prompt) - 1
    ids, positions, branch = list(row.prompt[:-1]), list(range(last)), [0] * last
    starts = []
    for number, response in enumerate(row.responses, start=1):
        starts.append(len(ids))
        ids += [row.prompt[-1], *response[:-1]]
        positions += range(last, last + len(response))
        branch += [number] * len(response)
    return ids, positions, branch, starts


def _visible(branch_RL: Tensor) -> Tensor:
    """(R, 1, L, L): position q sees k when k is not later and is prompt or in q's own branch."""
    length = branch_RL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool).tril()
    key, query = branch_RL[:, None, :], branch_RL[:, :, None]
    return (causal_LL & ((key == 0) | (key == query)))[:, None]
