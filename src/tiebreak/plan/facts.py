"""What is known of a run before it is done, for the formulas of work and room."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tiebreak.config.identity import trains_sft
from tiebreak.config.schema import Adapter, Reference, Run, WorldData
from tiebreak.plan.sizes import (
    WORLD_DOCUMENT,
    WORLD_PROMPT,
    WORLD_RESPONSE,
    Lengths,
    Shape,
    expected_lengths,
    start_shape,
    stored_lengths,
)
from tiebreak.stages.align import wants_reference

# Steps between checkpoints where no setting gives them: see stages/pretrain.py.
PRETRAIN_EVERY, INSTRUCT_EVERY = 200, 100


class Unknown(LookupError):
    """What only a model or data set that is not here would tell."""


@dataclass(frozen=True)
class Facts:
    """A run, its start model's shape and its splits' lengths; a split it has not is no key, and
    None is not known."""

    run: Run
    shape: Shape | None
    lengths: Mapping[str, Lengths | None]

    def model(self) -> Shape:
        if self.shape is None:
            raise Unknown(f"the size of model={self.run.model.name} (it is not in the cache)")
        return self.shape

    def rows(self, side: str) -> Lengths:
        found = self.lengths.get(side)
        if found is None:
            raise Unknown(f"the rows of data={self.run.data.name} (they were never read here)")
        return found

    def held_out(self) -> Lengths:
        return self.rows(str(self.run.evaluation.split))

    def prompts(self) -> float:
        """Prompts that are answered; a file may hold fewer than asked for."""
        asked = float(self.run.evaluation.num_prompts)
        return asked if isinstance(self.run.data, WorldData) else min(asked, self.held_out().rows)

    def adapter(self) -> int:
        """Parameters of the adapter; 0 without one."""
        lora = self.run.train.adapter is Adapter.LORA
        return self.model().adapter(self.run.train.lora) if lora else 0

    def trained(self) -> int:
        return self.adapter() or self.model().parameters

    def steps(self) -> tuple[int, float]:
        """(optimiser steps, rows they take) of align."""
        train = self.run.train
        return seen(self.rows("train").rows, train.batch_size, train.epochs, train.max_steps)

    def has_live_reference(self) -> bool:
        run = self.run
        stored = run.train.reference is Reference.STORE and not run.method.needs.live
        return wants_reference(run) and not stored


class Book:
    """Facts of many runs; headers are read once per model, scenario and data."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Shape | None, dict[str, Lengths | None]]] = {}

    def facts(self, run: Run, folders: Callable[[], tuple[Path | None, Path | None]]) -> Facts:
        """folders: where its preferences and demonstrations are, or would be, as tokens; None:
        nowhere. Working that out takes time, so it is asked on first sight."""
        at = (run.model, run.scenario, run.data)
        if at not in self._known:
            preferences, demonstrations = folders()
            lengths = {side: _lengths(run, side, preferences, side) for side in _sides(run)}
            if trains_sft(run):
                side = "demonstrations"
                lengths[side] = _lengths(run, side, demonstrations, "train")
            self._known[at] = start_shape(run), lengths
        return Facts(run, *self._known[at])


def _sides(run: Run) -> list[str]:
    validation = isinstance(run.data, WorldData) or run.data.validation_share > 0
    return ["train", "test", *(["validation"] if validation else [])]


def _lengths(run: Run, side: str, tokens: Path | None, stored: str) -> Lengths | None:
    found = None if tokens is None else stored_lengths(tokens, stored)
    return found or expected_lengths(run, side)


def seen(rows: float, batch: int, epochs: float, most: int | None = None) -> tuple[int, float]:
    """(optimiser steps, rows they take), as `engine/batches.py` plans them."""
    per_epoch = math.ceil(rows / batch)
    steps = max(1, math.ceil(per_epoch * epochs))
    steps = steps if most is None else min(steps, most)
    whole, rest = divmod(steps, per_epoch)
    return steps, whole * rows + min(rest * batch, rows)


@dataclass(frozen=True)
class Texts:
    """What a supervised stage imitates: rows in all, tokens of one, passes, rows of a step and of a
    forward; and its steps between checkpoints."""

    rows: float
    tokens: float
    epochs: float
    batch: int
    forward: int
    every: int
    recompute: bool = False

    def steps(self) -> int:
        return math.ceil(self.rows / self.batch * self.epochs)


def texts(facts: Facts, name: str) -> Texts:
    """Of the stage "pretrain", "instruct" or "sft"."""
    run, execution = facts.run, facts.run.train.execution
    if name == "sft":
        sft, lengths = run.train.sft, facts.rows("demonstrations")
        forward = min(sft.batch_size, max(1, execution.positions_per_cut // run.data.max_length))
        return Texts(
            min(lengths.rows, sft.examples or lengths.rows), lengths.tokens, sft.epochs,
            sft.batch_size, forward, execution.checkpoint_every, execution.gradient_checkpointing,
        )  # fmt: skip
    if name == "pretrain":
        made = run.model.pretraining
        assert made is not None
        batch = made.batch_size
        return Texts(made.documents, WORLD_DOCUMENT, made.epochs, batch, batch, PRETRAIN_EVERY)
    tuned = run.model.instruct_tuning
    assert tuned is not None and tuned.examples is not None
    tokens, batch = WORLD_PROMPT + WORLD_RESPONSE, tuned.batch_size
    return Texts(tuned.examples, tokens, tuned.epochs, batch, batch, INSTRUCT_EVERY)
