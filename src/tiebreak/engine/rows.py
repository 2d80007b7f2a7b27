"""Conversations as rows, in one of three layouts; log-probs and gradients are the same in each.

`shared`: a prompt and its branches, in one row.

    [ prompt | response 1 without its last token | last prompt token again | response 2 ... ]

A branch begins with the last prompt token, so that ordinary next-token prediction scores the
first response token too; the last response token predicts nothing and is left out. A branch sees
the prompt and itself, never its sibling, and its positions continue the prompt's. Two responses
therefore cost the prompt once.

`separate`: each response with its prompt is a row of its own, for models in which a position acts
on later ones other than by masked attention. Rows of one length share a forward: a micro-batch is
cut into as many as make positions cheapest. `alone`: the same rows, one forward each, for models in
which it matters how long the other rows of a forward are.

Shape legend: R rows, L positions (padded on the right), N scored positions, B responses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import torch
from torch import Tensor

from tiebreak.engine.batches import cut


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
        """Positions that it takes through the network; at most these, as in one forward, where its
        responses are separate."""
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
    how many of them belong to each prompt (asked for) and response, in the same order. forwards:
    numbers of the rows that go through the network together.
    """

    input_ids: Tensor
    position_ids: Tensor
    branch: Tensor
    scored: Tensor
    targets: Tensor
    lengths: list[int]
    forwards: list[list[int]]
    layout: Layout = Layout.SHARED

    @property
    def positions(self) -> int:
        """Positions through the network, padding of each forward included."""
        used_R = (self.branch >= 0).sum(1).tolist()
        return sum(max(used_R[i] for i in part) * len(part) for part in self.forwards)

    def part(self, numbers: Sequence[int]) -> Rows:
        """These rows as a forward takes them: padded to the longest of them."""
        used = int((self.branch[numbers] >= 0).sum(1).max())
        names = ("input_ids", "position_ids", "branch", "scored")
        return replace(self, **{name: getattr(self, name)[numbers, :used] for name in names})

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
    overhead: float = math.inf,
) -> Rows:
    """Lay out rows on the CPU. `prompt`: score the prompt's tokens after its first, too. overhead:
    what another forward over separate rows costs, in positions; inf: they are one."""
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
    forwards = _forwards([len(one.ids) for one in placed], layout, overhead)
    return Rows(
        input_ids_RL, position_ids_RL, branch_RL, scored_RL, torch.tensor(targets), lengths,
        forwards, layout,
    )  # fmt: skip


def _forwards(used: Sequence[int], layout: Layout, overhead: float) -> list[list[int]]:
    """Numbers of the rows of each forward, in order."""
    if layout is Layout.ALONE:
        return [[i] for i in range(len(used))]
    if layout is Layout.SHARED or overhead == math.inf:
        return [list(range(len(used)))]
    return [sorted(part) for part in cut(used, math.inf, overhead)]


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
