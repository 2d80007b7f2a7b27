"""What a method keeps from one optimiser step to the next; part of every checkpoint."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from tiebreak.engine.reference import Live
from tiebreak.methods import Method, Pairs

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
