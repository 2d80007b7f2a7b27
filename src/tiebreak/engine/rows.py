"""Conversations as rows, in one of three layouts; log-probs and gradients are the same in each.

`shared`: a prompt and its branches, in one row.

    [ prompt | response 1 without its last token | last prompt token again | response 2 ... ]

A branch begins with the last prompt token, so that ordinary next-token prediction scores the
first response token too; the last response token predicts nothing and is left out. A branch sees
the prompt and itself, never its sibling, and its positions continue the prompt's. Two responses
therefore cost the prompt once.

`separate`: each response with its prompt is a row of its own, for models in which a position acts
on later ones other than by masked attention. `alone`: the same rows, one forward each, for models
in which it matters how long the other rows of a micro-batch are.

Shape legend: R rows, L positions (padded on the right), N scored positions, B responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

import torch
from torch import Tensor


class Layout(StrEnum):
    """How conversations become rows, cheapest first."""

    SHARED = "shared"
    SEPARATE = "separate"
    ALONE = "alone"


@dataclass(frozen=True)
class Branches:
    """One prompt with K responses, as token ids; each at least one token long."""

    prompt: Sequence[int]
    responses: Sequence[Sequence[int]]

    def positions(self, layout: Layout = Layout.SHARED) -> int:
        """Positions that it takes through the network, padded among themselves if separate."""
        if layout is Layout.SHARED:
            return len(self.prompt) + sum(len(r) for r in self.responses) - 1
        longest = max(len(r) for r in self.responses)
        return len(self.responses) * (len(self.prompt) + longest - 1)

    def unique_tokens(self) -> int:
        """Tokens of the prompt, once, and of the responses."""
        return len(self.prompt) + sum(len(r) for r in self.responses)


@dataclass(frozen=True)
class Rows:
    """A micro-batch of rows, ready for a causal language model.

    input_ids, position_ids (R, L). branch (R, L): 0 what all of a row sees, 1, 2, ... what its own
    branch sees, -1 padding. scored (R, L): True where the next token is scored, one of a response
    and where asked for one of the prompt. targets (N,): those tokens, in reading order. lengths:
    how many of them belong to each prompt (asked for) and response, in the same order.
    """

    input_ids: Tensor
    position_ids: Tensor
    branch: Tensor
    scored: Tensor
    targets: Tensor
    lengths: list[int]
    layout: Layout = Layout.SHARED

    def to(self, device: torch.device) -> Rows:
        values = (getattr(self, f.name) for f in fields(self))
        return Rows(*(v.to(device) if isinstance(v, Tensor) else v for v in values))

    def split(self, flat_N: Tensor) -> list[Tensor]:
        """Values at scored positions -> one 1-D tensor per entry of `lengths`."""
        return list(flat_N.split(self.lengths))


def build(
    branches: Sequence[Branches],
    pad_id: int,
    prompt: bool = False,
    layout: Layout = Layout.SHARED,
) -> Rows:
    """Lay out rows on the CPU. `prompt`: score the prompt's tokens after its first, too."""
    placed = [one for row in branches for one in _placed(row, prompt, layout)]
    shape = len(placed), max(len(one.ids) for one in placed)
    input_ids_RL = torch.full(shape, pad_id)
    position_ids_RL = torch.zeros(shape, dtype=torch.long)
    branch_RL = torch.full(shape, -1)
    scored_RL = torch.zeros(shape, dtype=torch.bool)
    targets: list[int] = []
    lengths: list[int] = []
    for i, one in enumerate(placed):
        used = len(one.ids)
        input_ids_RL[i, :used] = torch.tensor(one.ids)
        position_ids_RL[i, :used] = torch.tensor(one.positions)
        branch_RL[i, :used] = torch.tensor(one.branch)
        for start, span in one.spans:
            scored_RL[i, start : start + len(span)] = True
            targets.extend(span)
            lengths.append(len(span))
    return Rows(
        input_ids_RL, position_ids_RL, branch_RL, scored_RL, torch.tensor(targets), lengths, layout
    )


@dataclass
class _Row:
    """One row. spans: (where scoring starts, the tokens scored), in reading order."""

    ids: list[int]
    positions: list[int]
    branch: list[int]
    spans: list[tuple[int, Sequence[int]]]


def _placed(row: Branches, prompt: bool, layout: Layout) -> list[_Row]:
    assert row.prompt and all(row.responses), "prompt and responses hold at least one token"
    last = len(row.prompt) - 1
    asked = [(0, row.prompt[1:])] if prompt else []
    if layout is not Layout.SHARED:
        rows = []
        for number, response in enumerate(row.responses):
            # By itself a conversation is whole: positions may depend on how long it is.
            ids = [*row.prompt, *(response if layout is Layout.ALONE else response[:-1])]
            spans = [*(asked if number == 0 else []), (last, response)]
            rows.append(_Row(ids, list(range(len(ids))), [0] * len(ids), spans))
        return rows
    one = _Row(list(row.prompt[:-1]), list(range(last)), [0] * last, asked)
    for number, response in enumerate(row.responses, start=1):
        one.spans.append((len(one.ids), response))
        one.ids += [row.prompt[-1], *response[:-1]]
        one.positions += range(last, last + len(response))
        one.branch += [number] * len(response)
    return [one]
