"""Memory and disk of each stage, in bytes. The formulas are in `plan/estimate.py`."""

from __future__ import annotations

import math

from tiebreak.plan.facts import Facts, Texts, Unknown, texts
from tiebreak.plan.sizes import Lengths, Shape

FLOAT = 4  # bytes: weights, gradients and moments are float32 in every precision
RUNTIME = 600 * 2**20  # a process with the libraries loaded, before any model
STEP, PROMPT, RUN = 840, 500, 5000  # a record's files: by step, by prompt, and the rest
WINDOW = 256  # rows that a pass without gradient cuts at once: see engine/reference.py


def supervised_memory(facts: Facts, name: str) -> float:
    """All weights are trained; logits, their softmax and their gradient are whole."""
    shape, what = facts.model(), texts(facts, name)
    positions = what.forward * what.tokens
    logits = 3 * positions * shape.vocabulary * FLOAT
    held = 4 * FLOAT * shape.parameters
    return RUNTIME + held + activations(shape, positions, what.recompute) + logits


def align_memory(facts: Facts) -> float:
    run, shape, adapter = facts.run, facts.model(), facts.adapter()
    copies = 2 if facts.has_live_reference() and not adapter else 1
    held = FLOAT * (copies * shape.parameters + adapter + 3 * facts.trained())
    recompute = run.train.execution.gradient_checkpointing
    positions = _cut(facts, run.train.batch_size)
    return RUNTIME + held + activations(shape, positions, recompute) + _logits(facts, positions)


def forward_memory(facts: Facts) -> float:
    """Weights, what one layer holds, and a chunk of logits."""
    shape, positions = facts.model(), _cut(facts, WINDOW)
    weights = FLOAT * (shape.parameters + facts.adapter())
    return RUNTIME + weights + positions * _layer(shape) + _logits(facts, positions)


def generate_memory(facts: Facts) -> float:
    """Weights, keys and values of a batch of answers, and the logits of their last positions."""
    shape, batch = facts.model(), min(facts.run.evaluation.batch_size, facts.prompts())
    length = facts.held_out().prompt + facts.run.evaluation.max_new_tokens
    cache = batch * length * shape.layers * 2 * shape.hidden * FLOAT
    weights = FLOAT * (shape.parameters + facts.adapter())
    return RUNTIME + weights + cache + 2 * batch * shape.vocabulary * FLOAT


def activations(shape: Shape, positions: float, recompute: bool) -> float:
    """What a forward leaves for the backward pass."""
    if recompute:
        return positions * (shape.layers * FLOAT * shape.hidden + _layer(shape))
    return positions * shape.layers * _layer(shape)


def _layer(shape: Shape) -> int:
    """Bytes of one position in one layer, attention kept fused."""
    return FLOAT * (10 * shape.hidden + 4 * shape.intermediate)


def _cut(facts: Facts, batch: int) -> float:
    """Positions of a micro-batch: a row at least, the budget or the whole batch at most."""
    budget, lengths = facts.run.train.execution.positions_per_cut, facts.lengths.get("train")
    row = budget if lengths is None else lengths.positions
    return max(row, min(budget, batch * row))


def _logits(facts: Facts, positions: float) -> float:
    """Log-probs and probabilities of a chunk; twice where a reference's stand beside them."""
    sides = 2 if facts.run.method.needs.forward_kl else 1
    chunk = min(facts.run.train.execution.head_chunk, positions)
    return 2 * sides * chunk * facts.model().vocabulary * FLOAT


def align_disk(facts: Facts) -> float:
    return FLOAT * facts.trained() + (STEP - 140) * facts.steps()[0]  # its metrics.jsonl


def align_transient(facts: Facts) -> float:
    follows = facts.model().parameters if facts.run.method.needs.moving_reference else 0
    every = facts.run.train.execution.checkpoint_every
    return checkpoints(facts.steps()[0], every, 3 * facts.trained() + follows)


def supervised_transient(facts: Facts, name: str) -> float:
    what: Texts = texts(facts, name)
    return checkpoints(what.steps(), what.every, 3 * facts.model().parameters)


def checkpoints(steps: int, every: int, floats: int) -> float:
    """Weights and two moments; the last checkpoint goes only when the next is whole."""
    return min(2, math.ceil(steps / every)) * FLOAT * floats


def tokens_disk(sides: list[Lengths]) -> float:
    return sum(one.rows * (FLOAT * one.tokens + 64) for one in sides)


def reference_disk(lengths: Lengths, each: float) -> float:
    """A float per token, two offsets; `each`: responses scored per row."""
    return lengths.rows * (each * (FLOAT * lengths.response + 8) + 8)


def record_disk(facts: Facts) -> int:
    """The files of a run's record."""
    try:
        return round(STEP * facts.steps()[0] + PROMPT * facts.prompts() + RUN)
    except Unknown:
        return RUN
