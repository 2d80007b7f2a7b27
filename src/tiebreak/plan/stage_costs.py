"""What each kind of stage computes, holds in memory and leaves on the disk: the formulas.

Work is counted in FLOPs per parameter of the model: FORWARD for each position of a forward pass,
padding left out. Sizes are bytes, at most. An evaluator's work is declared by its own file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tiebreak.config.schema import Adapter
from tiebreak.data.sources import Lengths
from tiebreak.data.sources.source import DEMONSTRATIONS, TRAIN
from tiebreak.data.sources.world import PROMPT, RESPONSE
from tiebreak.plan.sizes import NotKnown, RunSize, Shape, side_of
from tiebreak.stages.evaluators import evaluator_of
from tiebreak.stages.start import PRETRAIN_CHECKPOINTS

FORWARD = 2  # FLOPs per parameter and position
FLOAT = 4  # bytes: weights, gradients and moments are float32 in every precision
RUNTIME = 600 * 2**20  # bytes of a process with the libraries loaded, before any model
WORLD_DOCUMENT = 51.0  # mean tokens of a document of the controlled world
INSTRUCT_CHECKPOINTS = 100  # steps between two of them, where no setting says it
WINDOW = 256  # rows that a pass without gradient cuts at once (engine/reference.py)
# Bytes of a record by optimiser step and by prompt, and of the rest; as measured.
STEP, PROMPTED, RECORD = 840, 500, 5000
LOGGED = 700  # bytes of a step in the training log of a policy


@dataclass(frozen=True)
class StageCost:
    """What one stage takes, on any machine. None: not known, and `missing` says why.

    kind       "train", "forward", "generate" (written token by token), "rows" (read and turned into
               token ids), "none" (no model) or "unknown"
    work       FLOPs per parameter of the model; of "rows", how many
    scored     FLOPs per parameter of forward passes in a stage of the kind "generate"
    memory, disk, transient  bytes: at most, kept, and while the stage is built
    """

    kind: str
    work: float | None = None
    memory: int | None = None
    disk: int | None = None
    transient: int | None = None
    missing: str = ""
    scored: float = 0.0


CostFormula = Callable[[RunSize, str], float]  # (size, what the stage is of) -> FLOPs or bytes


class _Formulas(NamedTuple):
    kind: str
    work: CostFormula
    memory: CostFormula
    disk: CostFormula
    transient: CostFormula = lambda size, what: 0


def stage_cost(name: str, what: str, size: RunSize) -> StageCost:
    """Cost of the stage `name` of a run; `what` tells two of one name apart."""
    if name == "tokens" and size.run.data.samples and what != DEMONSTRATIONS:
        data = size.run.data.name
        return StageCost("unknown", missing=f"what writing the rows of data={data} needs")
    if name not in _STAGES:
        return _evaluator_cost(name, what == "policy", size)
    kind, *formulas = _STAGES[name]
    values: list[float | None] = []
    missing = ""
    for formula in formulas:
        try:
            values.append(formula(size, what or name))
        except NotKnown as error:
            values.append(None)
            missing = missing or str(error)
    work, *sizes = values
    memory, disk, transient = (None if value is None else round(value) for value in sizes)
    return StageCost(kind, work, memory, disk, transient, missing)


def _evaluator_cost(name: str, of_policy: bool, size: RunSize) -> StageCost:
    cost = evaluator_of(name, size.run.evaluation).cost
    if cost is None:
        return StageCost("unknown", missing=f"what the evaluator {name} needs")
    try:
        work = cost(size, of_policy)
        disk, written, scored = round(work.disk), FORWARD * work.written, FORWARD * work.scored
        if work.judged or work.judge_written:  # by another model, which is alone in memory
            judge = size.of_judge()
            share = FORWARD * judge.model().parameters / size.model().parameters
            written, scored = share * work.judge_written, share * work.judged
            size, of_policy = judge, False
    except NotKnown as error:
        return StageCost("unknown", missing=str(error))
    try:
        adapter = size.adapter() if of_policy else 0
        writing = generate_memory(size, adapter) if written else RUNTIME
        scoring = forward_memory(size, adapter) if scored else RUNTIME
        memory, missing = round(max(writing, scoring)), ""
    except NotKnown as error:
        memory, missing = None, str(error)
    if written:
        return StageCost("generate", written, memory, disk, 0, missing, scored)
    return StageCost("forward" if scored else "none", scored, memory, disk, 0, missing)


def record_disk(size: RunSize) -> int:
    """Bytes of the files of a run's record; the mirror of W&B is left out."""
    try:
        return round(STEP * size.align_steps()[0] + PROMPTED * size.prompts() + RECORD)
    except NotKnown:
        return RECORD


# Supervised stages: pretrain, instruct, sft.


@dataclass(frozen=True)
class SftWork:
    """What a supervised stage imitates.

    rows: texts; tokens: of one text; batch: rows of an optimiser step; forward: rows of a forward
    pass; every: steps between two checkpoints; recompute: activations are not kept.
    """

    rows: float
    tokens: float
    epochs: float
    batch: int
    forward: int
    every: int
    recompute: bool = False

    @property
    def steps(self) -> int:
        return math.ceil(self.rows / self.batch * self.epochs)


def sft_work(size: RunSize, name: str) -> SftWork:
    """What the stage "pretrain", "instruct" or "sft" trains on."""
    run, execution = size.run, size.run.train.execution
    if name == "sft":
        sft, lengths = run.train.sft, size.rows(DEMONSTRATIONS)
        forward = min(sft.batch_size, max(1, execution.positions_per_cut // run.data.max_length))
        return SftWork(
            min(lengths.rows, sft.examples or lengths.rows), lengths.tokens, sft.epochs,
            sft.batch_size, forward, execution.checkpoint_every, execution.gradient_checkpointing,
        )  # fmt: skip
    if name == "pretrain":
        made = run.model.pretraining
        assert made is not None
        batch, every = made.batch_size, PRETRAIN_CHECKPOINTS
        return SftWork(made.documents, WORLD_DOCUMENT, made.epochs, batch, batch, every)
    tuned = run.model.instruct_tuning
    assert tuned is not None and tuned.examples is not None
    tokens, batch, every = PROMPT + RESPONSE, tuned.batch_size, INSTRUCT_CHECKPOINTS
    return SftWork(tuned.examples, tokens, tuned.epochs, batch, batch, every)


def _supervised_flops(size: RunSize, name: str) -> float:
    """Forward, back to the activations and back to the weights; forward again to recompute."""
    work = sft_work(size, name)
    return FORWARD * (3 + work.recompute) * work.rows * work.epochs * work.tokens


def _supervised_memory(size: RunSize, name: str) -> float:
    """Weights, gradient and Adam's two moments; logits, their softmax and their gradient are
    whole."""
    shape, work = size.model(), sft_work(size, name)
    positions = work.forward * work.tokens
    logits = 3 * positions * shape.vocabulary * FLOAT
    weights = 4 * FLOAT * shape.parameters
    return RUNTIME + weights + _activations(shape, positions, work.recompute) + logits


def _supervised_transient(size: RunSize, name: str) -> float:
    work = sft_work(size, name)
    return _checkpoints(work.steps, work.every, 3 * size.model().parameters)


# align


def _align_flops(size: RunSize, what: str) -> float:
    """Training, and forwards beside it: of a live reference, the whole batch, mismatched rows."""
    run, lengths = size.run, size.rows(TRAIN)
    models = 2 if size.has_live_reference() else 1
    forwards = (models - 1) * lengths.positions
    if "pairs" in run.method.needs.whole_batch:
        forwards += models * lengths.positions
    if "mismatched" in run.method.needs.whole_batch:
        forwards += models * lengths.single
    # Forward, back to the activations, back to the weights (an adapter's are few), and forward
    # once more where activations are not kept.
    frozen = run.train.adapter is Adapter.LORA
    passes = 3 - frozen + run.train.execution.gradient_checkpointing
    return FORWARD * (passes * lengths.positions + forwards) * size.align_steps()[1]


def _align_memory(size: RunSize, what: str) -> float:
    """Weights, an adapter, gradient and Adam's two moments of what is trained, a frozen copy as
    live reference, activations of a micro-batch and a chunk of logits."""
    run, shape, adapter = size.run, size.model(), size.adapter()
    copies = 2 if size.has_live_reference() and not adapter else 1
    weights = FLOAT * (copies * shape.parameters + adapter + 3 * size.trained())
    recompute = run.train.execution.gradient_checkpointing
    positions = _micro_batch(size, run.train.batch_size)
    # Log-probs and probabilities of a reference stand beside the policy's.
    logits = (2 if run.method.needs.forward_kl else 1) * _logits(size, positions)
    return RUNTIME + weights + _activations(shape, positions, recompute) + logits


def _align_disk(size: RunSize, what: str) -> float:
    return FLOAT * size.trained() + LOGGED * size.align_steps()[0]


def _align_transient(size: RunSize, what: str) -> float:
    moving = size.model().parameters if size.run.method.needs.moving_reference else 0
    every = size.run.train.execution.checkpoint_every
    return _checkpoints(size.align_steps()[0], every, 3 * size.trained() + moving)


def _checkpoints(steps: int, every: int, floats: int) -> float:
    """Weights and two moments; the last checkpoint goes only when the next is whole."""
    return min(2, math.ceil(steps / every)) * FLOAT * floats


# Passes without gradient.


def forward_memory(size: RunSize, adapter: int = 0) -> float:
    """Weights, what one layer holds, and a chunk of logits."""
    shape, positions = size.model(), _micro_batch(size, WINDOW)
    weights = FLOAT * (shape.parameters + adapter)
    return RUNTIME + weights + positions * _layer(shape) + _logits(size, positions)


def generate_memory(size: RunSize, adapter: int = 0) -> float:
    """Weights, keys and values of a batch of answers, and the logits of their last positions."""
    shape, evaluation = size.model(), size.run.evaluation
    batch = min(evaluation.batch_size, size.prompts())
    length = size.held_out().prompt + evaluation.max_new_tokens
    cache = batch * length * shape.layers * 2 * shape.hidden * FLOAT
    weights = FLOAT * (shape.parameters + adapter)
    return RUNTIME + weights + cache + 2 * batch * shape.vocabulary * FLOAT


def _reference_flops(size: RunSize, what: str) -> float:
    lengths = size.rows(TRAIN)
    return FORWARD * lengths.rows * (lengths.single if _mismatched(what) else lengths.positions)


def _reference_disk(size: RunSize, what: str) -> float:
    """A float per scored token, an offset per response and one per row."""
    lengths = size.rows(TRAIN)
    responses = 1 if _mismatched(what) else lengths.responses
    return lengths.rows * (responses * (FLOAT * lengths.response + 8) + 8)


def _mismatched(what: str) -> bool:
    return what == "mismatched responses"


# Parts of a model's memory.


def _activations(shape: Shape, positions: float, recompute: bool) -> float:
    """What a forward leaves for the backward pass; recomputed: a layer's input, and one layer."""
    if recompute:
        return positions * (shape.layers * FLOAT * shape.hidden + _layer(shape))
    return positions * shape.layers * _layer(shape)


def _layer(shape: Shape) -> int:
    """Bytes of one position in one layer, attention kept fused."""
    return FLOAT * (10 * shape.hidden + 4 * shape.intermediate)


def _micro_batch(size: RunSize, rows: int) -> float:
    """Positions of a micro-batch: a row at least, the budget or all `rows` at most."""
    budget, lengths = size.run.train.execution.positions_per_cut, size.lengths.get(TRAIN)
    row = budget if lengths is None else lengths.positions
    return max(row, min(budget, rows * row))


def _logits(size: RunSize, positions: float) -> float:
    """Log-probs and probabilities of a chunk."""
    chunk = min(size.run.train.execution.head_chunk, positions)
    return 2 * chunk * size.model().vocabulary * FLOAT


def _side(size: RunSize, what: str) -> Lengths:
    return size.rows(side_of(what))


_TOKENS = _Formulas(
    "rows",
    lambda size, what: _side(size, what).rows,
    lambda size, what: RUNTIME,
    lambda size, what: _side(size, what).rows * (FLOAT * _side(size, what).tokens + 64),
)
_OVERLAP = _Formulas(
    "rows",
    lambda size, what: size.rows(TRAIN).rows,
    lambda size, what: RUNTIME,
    lambda size, what: 100,
)
_SUPERVISED = _Formulas(
    "train",
    _supervised_flops,
    _supervised_memory,
    lambda size, name: FLOAT * size.model().parameters,
    _supervised_transient,
)
_STAGES = {
    "tokens": _TOKENS,
    "overlap": _OVERLAP,
    "pretrain": _SUPERVISED,
    "instruct": _SUPERVISED,
    "sft": _SUPERVISED,
    "reference": _Formulas(
        "forward", _reference_flops, lambda size, what: forward_memory(size), _reference_disk
    ),
    "align": _Formulas("train", _align_flops, _align_memory, _align_disk, _align_transient),
}
