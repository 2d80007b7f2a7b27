"""Reference log-probs: one pass, stored per token, read by every method, beta and seed. The store's
key (weights + token ids + precision) is made in `stages/reference.py`; this file is the table
itself and the pass that fills it. `Live` is the reference as a model, in training."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor

from tiebreak.engine import rows as row_layout
from tiebreak.engine.batches import cut
from tiebreak.engine.rows import Branches, Layout
from tiebreak.engine.scoring import score
from tiebreak.methods import Method, Pairs


@dataclass(frozen=True)
class ReferenceTable:
    """Per-token log-probs (float32) of the responses of a token set: row by row, branch by branch.
    values: all responses end to end; starts: where each response begins, with the end appended;
    first: the number of the first response of each row."""

    values: Tensor
    starts: Tensor
    first: Tensor

    def get(self, row: int, branch: int) -> Tensor:
        """(T,) log-probs of one response."""
        number = int(self.first[row]) + branch
        return self.values[int(self.starts[number]) : int(self.starts[number + 1])]

    def save(self, path: Path) -> None:
        save_file({"values": self.values, "starts": self.starts, "first": self.first}, path)

    @classmethod
    def load(cls, path: Path) -> ReferenceTable:
        return cls(**load_file(path))

    @classmethod
    def of(cls, logps: Sequence[Sequence[Tensor]]) -> ReferenceTable:
        """From per-row, per-branch log-probs."""
        flat = [t.float().cpu() for row in logps for t in row]
        lengths = torch.tensor([len(t) for t in flat])
        counts = torch.tensor([len(row) for row in logps])
        zero = torch.zeros(1, dtype=torch.long)
        starts, first = torch.cat([zero, lengths.cumsum(0)]), torch.cat([zero, counts.cumsum(0)])
        return cls(torch.cat(flat), starts, first)


def score_all(
    model: Any,
    branches: Sequence[Branches],
    *,
    pad_id: int,
    budget: int,
    overhead: int,
    layout: Layout = Layout.SHARED,
    progress: Callable[[int], object] = lambda done: None,
) -> list[list[Tensor]]:
    """Per-row, per-branch log-probs of every response, without gradient, on the CPU."""
    result: list[list[Tensor]] = [[] for _ in branches]
    device = next(model.parameters()).device
    with torch.no_grad():
        for part in cut_many([b.positions(layout) for b in branches], budget, overhead):
            of_part = [branches[i] for i in part]
            rows = row_layout.build(of_part, pad_id, layout=layout, overhead=overhead)
            logps = iter(score(model, rows.to(device)).logp)
            for i in part:
                result[i] = [next(logps).float().cpu() for _ in branches[i].responses]
            progress(len(part))
    return result


def cut_many(positions: Sequence[int], budget: int, overhead: int, window: int = 256) -> list:
    """`cut` for a whole data set: sorted by length, then cut window by window."""
    order = sorted(range(len(positions)), key=lambda i: (-positions[i], i))
    cuts: list[list[int]] = []
    for at in range(0, len(order), window):
        part = order[at : at + window]
        local = cut([positions[i] for i in part], budget, overhead)
        cuts += [[part[j] for j in one] for one in local]
    return cuts


@dataclass(frozen=True)
class Live:
    """The reference as a model, for what a table cannot give. copy: a frozen model beside the
    policy; None: the LoRA policy with its adapter off, which needs no second copy of the
    weights."""

    copy: Any = None

    @contextmanager
    def __call__(self, policy: Any) -> Generator[Any]:
        """The reference, without gradient; a copy computes in float32 also where the policy does
        not."""
        with torch.no_grad():
            if self.copy is None:
                with policy.disable_adapter():
                    yield policy
                return
            device = next(self.copy.parameters()).device.type
            with torch.autocast(device, enabled=False):
                yield self.copy

    def follow(self, policy: Any, share: float) -> None:
        """reference <- share * policy + (1 - share) * reference, weight by weight."""
        with torch.no_grad():
            for mine, its in zip(self.copy.parameters(), policy.parameters(), strict=True):
                mine.lerp_(its.to(mine.dtype), share)


_CARRIED, _REFERENCE = "carried.json", "reference.safetensors"


@dataclass
class MethodState:
    """Statistics that run on (`carry`) and a reference that moves (`reference_share`)."""

    method: Method
    live: Live | None = None
    carried: dict[str, float] = field(default_factory=dict)

    def advance(self, batch: Pairs, seed: int, step: int, rows: Sequence[int]) -> Pairs:
        """The scored optimiser batch with its noise and this step's statistics."""
        draws = [random.Random(f"noise {seed} {step} {row}").random() for row in rows]
        noise_B = torch.tensor(draws, dtype=torch.float64, device=batch.chosen.policy.device)
        batch = replace(batch, noise=noise_B)
        self.carried = self.method.carry(batch, self.carried)
        return replace(batch, carried=self.carried)

    def follow(self, policy: Any, step: int) -> None:
        """Move the reference after update `step`, where the method says so."""
        if not self.method.needs.moving_reference:
            return
        share = self.method.reference_share(step)
        if share:
            assert self.live is not None
            self.live.follow(policy, share)

    def save(self, folder: Path) -> None:
        if self.carried:
            (folder / _CARRIED).write_text(json.dumps(self.carried))
        if self.method.needs.moving_reference:
            assert self.live is not None
            save_model(self.live.copy, str(folder / _REFERENCE))

    def load(self, folder: Path) -> None:
        if (folder / _CARRIED).is_file():
            self.carried = json.loads((folder / _CARRIED).read_text())
        if self.method.needs.moving_reference:
            assert self.live is not None
            load_model(self.live.copy, str(folder / _REFERENCE))
