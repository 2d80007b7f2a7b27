"""What each kind of stage computes, holds in memory, sends and leaves on the disk.

Work is counted in FLOPs per parameter of the model: FORWARD for each position of a forward pass,
padding left out. Sizes are bytes, at most. An evaluator's work is declared by its own file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tiebreak.config.schema import Adapter, Optimiser, RunConfig
from tiebreak.data.sources import Lengths
from tiebreak.data.sources.source import DEMONSTRATIONS, TRAIN
from tiebreak.data.sources.world import PROMPT, RESPONSE
from tiebreak.plan import memory
from tiebreak.plan.memory import FLOAT, HERE, Parts, Place, Step
from tiebreak.plan.sizes import NotKnown, RunSize, side_of
from tiebreak.stages.evaluators import evaluator_of
from tiebreak.stages.start import PRETRAIN_CHECKPOINTS

FORWARD = 2  # FLOPs per parameter and position
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
    parts      bytes of each of the processes that do it together, at most, by what is held
    disk, transient  bytes: kept, and while the stage is built
    sent       bytes that each process sends to the others
    """

    kind: str
    work: float | None = None
    parts: Parts | None = None
    disk: int | None = None
    transient: int | None = None
    missing: str = ""
    scored: float = 0.0
    sent: float = 0.0

    @property
    def memory(self) -> int | None:
        """Bytes of all parts."""
        return None if self.parts is None else round(sum(self.parts.values()))


# (size, what the stage is of, where it is done) -> FLOPs or bytes
CostFormula = Callable[[RunSize, str, Place], float]
MemoryFormula = Callable[[RunSize, str, Place], Parts]


class _Formulas(NamedTuple):
    kind: str
    work: CostFormula
    memory: MemoryFormula
    disk: CostFormula
    transient: CostFormula = lambda size, what, place: 0
    sent: CostFormula = lambda size, what, place: 0


def stage_cost(name: str, what: str, size: RunSize, place: Place = HERE) -> StageCost:
    """Cost of the stage `name` of a run; `what` tells two of one name apart."""
    if name == "tokens" and size.run.data.samples and what != DEMONSTRATIONS:
        data = size.run.data.name
        return StageCost("unknown", missing=f"what writing the rows of data={data} needs")
    if name not in _STAGES:
        return _evaluator_cost(name, what == "policy", size, place)
    kind, *formulas = _STAGES[name]
    values: list[Any] = []
    missing = ""
    for formula in formulas:
        try:
            values.append(formula(size, what or name, place))
        except NotKnown as error:
            values.append(None)
            missing = missing or str(error)
    work, parts, disk, transient, sent = values
    disk, transient = (None if value is None else round(value) for value in (disk, transient))
    if parts is not None:
        parts["runtime"] = place.runtime
    return StageCost(kind, work, parts, disk, transient, missing, sent=sent or 0.0)


def _evaluator_cost(name: str, of_policy: bool, size: RunSize, place: Place) -> StageCost:
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
    parts: Parts | None = {}
    missing = ""
    try:
        adapter = size.adapter() if of_policy else 0
        if written:
            parts = _writing(size, place, adapter)
        if scored:
            parts = fullest(parts, _scoring(size, name, place, adapter))
        parts["runtime"] = place.runtime
    except NotKnown as error:
        parts, missing = None, str(error)
    if written:
        return StageCost("generate", written, parts, disk, 0, missing, scored)
    return StageCost("forward" if scored else "none", scored, parts, disk, 0, missing)


def fullest(one: Parts, other: Parts) -> Parts:
    """What takes more of two that are not there at once."""
    return max(one, other, key=lambda parts: sum(parts.values())) if one else other


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

    rows: texts; tokens: of one text; batch: rows of an optimiser step; every: steps between two
    checkpoints; recompute: activations are not kept.
    """

    rows: float
    tokens: float
    epochs: float
    batch: int
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
        return SftWork(
            min(lengths.rows, sft.examples or lengths.rows), lengths.tokens, sft.epochs,
            sft.batch_size, execution.checkpoint_every, execution.gradient_checkpointing,
        )  # fmt: skip
    if name == "pretrain":
        made = run.model.pretraining
        assert made is not None
        batch, every = made.batch_size, PRETRAIN_CHECKPOINTS
        return SftWork(made.documents, WORLD_DOCUMENT, made.epochs, batch, every)
    tuned = run.model.instruct_tuning
    assert tuned is not None and tuned.examples is not None
    tokens, batch, every = PROMPT + RESPONSE, tuned.batch_size, INSTRUCT_CHECKPOINTS
    return SftWork(tuned.examples, tokens, tuned.epochs, batch, every)


def _supervised_flops(size: RunSize, name: str, place: Place) -> float:
    """Forward, back to the activations and back to the weights; forward again to recompute."""
    work = sft_work(size, name)
    return FORWARD * (3 + work.recompute) * work.rows * work.epochs * work.tokens


def _supervised_memory(size: RunSize, name: str, place: Place) -> Parts:
    """A micro-batch of texts, whose logits are made in chunks."""
    work, execution = sft_work(size, name), size.run.train.execution
    positions = max(work.tokens, min(execution.positions_per_cut, work.batch * work.tokens))
    step = Step(positions, execution.head_chunk, work.recompute)
    return memory.training(size.model(), step, place.layout, place.number(size.run))


def _supervised_sent(size: RunSize, name: str, place: Place) -> float:
    work = sft_work(size, name)
    return _sent(size, place, work.steps, work.batch * work.tokens, adapted=False)


def _supervised_transient(size: RunSize, name: str, place: Place) -> float:
    work = sft_work(size, name)
    return _checkpoints(work.steps, work.every, 3 * size.model().parameters)


# align


def _align_flops(size: RunSize, what: str, place: Place) -> float:
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


def _align_memory(size: RunSize, what: str, place: Place) -> Parts:
    """Log-probs and probabilities of a reference may stand beside the policy's; where an adapter is
    trained, its base is the reference."""
    run, adapter, needs = size.run, size.adapter(), size.run.method.needs
    number, execution = place.number(run), run.train.execution
    reference = 0
    if size.has_live_reference() and not adapter:
        reference = FLOAT if needs.moving_reference else number
    positions = _micro_batch(size, run.train.batch_size)
    distributions = 2 if needs.forward_kl else 1
    step = Step(
        positions, execution.head_chunk, execution.gradient_checkpointing, distributions
    )  # fmt: skip
    return memory.training(
        size.model(), step, place.layout, number, adapter, reference, _moments(run)
    )


def _align_sent(size: RunSize, what: str, place: Place) -> float:
    positions = size.run.train.batch_size * size.rows(TRAIN).positions
    adapted = size.run.train.adapter is Adapter.LORA
    return _sent(size, place, size.align_steps()[0], positions, adapted)


def _sent(size: RunSize, place: Place, steps: int, positions: float, adapted: bool) -> float:
    """positions: of an optimiser batch. Each micro-batch gathers the weights forward and backward,
    and reduces float32 gradients within a copy, then over the copies; adapters are small."""
    layout, parameters = place.layout, size.model().parameters
    if layout.processes == 1:
        return 0.0
    budget = size.run.train.execution.positions_per_cut
    cuts = steps * max(1, math.ceil(positions / layout.processes / budget))
    within, among = (1 - 1 / count for count in (layout.shards, layout.replicas))
    each = within * 2 * place.number(size.run)
    if not adapted:
        each += within * FLOAT + among * 2 * FLOAT / layout.shards
    return cuts * parameters * each


def _align_disk(size: RunSize, what: str, place: Place) -> float:
    return FLOAT * size.trained() + LOGGED * size.align_steps()[0]


def _align_transient(size: RunSize, what: str, place: Place) -> float:
    moving = size.model().parameters if size.run.method.needs.moving_reference else 0
    every = size.run.train.execution.checkpoint_every
    kept = (1 + _moments(size.run)) * size.trained()
    return _checkpoints(size.align_steps()[0], every, kept + moving)


def _moments(run: RunConfig) -> int:
    """Numbers that the optimiser keeps of each weight."""
    return 1 if run.train.optimiser is Optimiser.RMSPROP else 2


def _checkpoints(steps: int, every: int, floats: int) -> float:
    """Weights and moments; the last checkpoint goes only when the next is whole."""
    return min(2, math.ceil(steps / every)) * FLOAT * floats


# Passes without gradient.


def _scoring(size: RunSize, what: str, place: Place, adapter: int = 0) -> Parts:
    positions = _micro_batch(size, WINDOW)
    step = Step(positions, size.run.train.execution.head_chunk, recompute=False)
    return memory.scoring(size.model(), step, place.number(size.run), adapter)


def _writing(size: RunSize, place: Place, adapter: int = 0) -> Parts:
    evaluation = size.run.evaluation
    batch = min(evaluation.batch_size, size.prompts())
    length = size.held_out().prompt + evaluation.max_new_tokens
    return memory.writing(size.model(), batch, length, place.number(size.run), adapter)


def _reference_flops(size: RunSize, what: str, place: Place) -> float:
    lengths = size.rows(TRAIN)
    return FORWARD * lengths.rows * (lengths.single if _mismatched(what) else lengths.positions)


def _reference_disk(size: RunSize, what: str, place: Place) -> float:
    """A float per scored token, an offset per response and one per row."""
    lengths = size.rows(TRAIN)
    responses = 1 if _mismatched(what) else lengths.responses
    return lengths.rows * (responses * (FLOAT * lengths.response + 8) + 8)


def _mismatched(what: str) -> bool:
    return what == "mismatched responses"


def _micro_batch(size: RunSize, rows: int) -> float:
    """Positions of a micro-batch: a row at least, the budget or all `rows` at most."""
    budget, lengths = size.run.train.execution.positions_per_cut, size.lengths.get(TRAIN)
    row = budget if lengths is None else lengths.positions
    return max(row, min(budget, rows * row))


def _side(size: RunSize, what: str) -> Lengths:
    return size.rows(side_of(what))


_TOKENS = _Formulas(
    "rows",
    lambda size, what, place: _side(size, what).rows,
    lambda size, what, place: {},
    lambda size, what, place: _side(size, what).rows * (FLOAT * _side(size, what).tokens + 64),
)
_OVERLAP = _Formulas(
    "rows",
    lambda size, what, place: size.rows(TRAIN).rows,
    lambda size, what, place: {},
    lambda size, what, place: 100,
)
_SUPERVISED = _Formulas(
    "train",
    _supervised_flops,
    _supervised_memory,
    lambda size, name, place: FLOAT * size.model().parameters,
    _supervised_transient,
    _supervised_sent,
)
_STAGES = {
    "tokens": _TOKENS,
    "overlap": _OVERLAP,
    "pretrain": _SUPERVISED,
    "instruct": _SUPERVISED,
    "sft": _SUPERVISED,
    "reference": _Formulas(
        "forward",
        _reference_flops,
        _scoring,
        _reference_disk,
    ),
    "align": _Formulas(
        "train", _align_flops, _align_memory, _align_disk, _align_transient, _align_sent
    ),
}
