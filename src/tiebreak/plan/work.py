"""What each stage computes, with its memory and disk. The formulas are in `plan/estimate.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tiebreak.config.schema import Adapter
from tiebreak.plan import room
from tiebreak.plan.facts import Facts, Unknown, texts
from tiebreak.plan.sizes import Lengths

FORWARD = 2  # FLOPs per parameter and position


@dataclass(frozen=True)
class Load:
    """What one stage asks of a machine.

    kind     of computation: "train", "forward", "generate" or "rows" (read and tokenised)
    work     FLOPs per parameter; of "rows", how many
    memory, disk, transient  bytes: at most, kept, and while it is built
    missing  why something is None
    """

    kind: str
    work: float | None = None
    memory: int | None = None
    disk: int | None = None
    transient: int | None = None
    missing: str = ""


Part = Callable[[Facts, str], float]


class _Stage(NamedTuple):
    kind: str
    work: Part
    memory: Part
    disk: Part
    transient: Part = lambda facts, what: 0


def load(name: str, what: str, facts: Facts) -> Load:
    """Of the stage `name`; `what` tells two of one name apart."""
    if name not in _STAGES:
        return Load("unknown", missing=f"what the stage {name} needs")
    kind, *parts = _STAGES[name]
    found: list[float | None] = []
    missing = ""
    for part in parts:
        try:
            found.append(part(facts, what))
        except Unknown as error:
            found.append(None)
            missing = missing or str(error)
    work, *sizes = found
    memory, disk, transient = (None if s is None else round(s) for s in sizes)
    return Load(kind, work, memory, disk, transient, missing)


def _align(facts: Facts, what: str) -> float:
    """Training, and forwards beside it: of a live reference, the whole batch, mismatched rows."""
    run, lengths = facts.run, facts.rows("train")
    models = 2 if facts.has_live_reference() else 1
    forwards = (models - 1) * lengths.positions
    if "pairs" in run.method.needs.whole_batch:
        forwards += models * lengths.positions
    if "mismatched" in run.method.needs.whole_batch:
        forwards += models * lengths.single
    # Forward, back to the activations, back to the weights (an adapter's are few), and forward
    # once more where activations are not kept.
    frozen = run.train.adapter is Adapter.LORA
    passes = 3 - frozen + run.train.execution.gradient_checkpointing
    return FORWARD * (passes * lengths.positions + forwards) * facts.steps()[1]


def _texts(facts: Facts, name: str) -> float:
    what = texts(facts, name)
    return FORWARD * (3 + what.recompute) * what.rows * what.epochs * what.tokens


def _reference(facts: Facts, what: str) -> float:
    lengths = facts.rows("train")
    return FORWARD * lengths.rows * (lengths.single if _single(what) else lengths.positions)


def _reference_disk(facts: Facts, what: str) -> float:
    lengths = facts.rows("train")
    return room.reference_disk(lengths, 1 if _single(what) else lengths.responses)


def _single(what: str) -> bool:
    return what == "mismatched responses"


def _generate(facts: Facts, what: str) -> float:
    length = facts.held_out().prompt + facts.run.evaluation.max_new_tokens
    return FORWARD * facts.prompts() * length


def _evaluate(facts: Facts, what: str) -> float:
    """Held-out rows and answers; a policy's answers are scored by the start model, too."""
    lengths = facts.held_out()
    pair = lengths.prompt + min(2, lengths.responses) * lengths.response - 1
    times = 2 if what == "policy" else 1
    return FORWARD * (lengths.rows * pair + times * facts.prompts() * lengths.single)


def _sides(facts: Facts, what: str) -> list[Lengths]:
    names = [side for side in facts.lengths if side != "demonstrations"]
    return [facts.rows(side) for side in ([what] if what == "demonstrations" else names)]


def _supervised(name: str) -> _Stage:
    return _Stage(
        "train",
        lambda facts, what: _texts(facts, name),
        lambda facts, what: room.supervised_memory(facts, name),
        lambda facts, what: room.FLOAT * facts.model().parameters,
        lambda facts, what: room.supervised_transient(facts, name),
    )


# Bytes of tables and texts are as measured, by row and by token.
_STAGES = {
    "tokens": _Stage(
        "rows",
        lambda facts, what: sum(one.rows for one in _sides(facts, what)),
        lambda facts, what: room.RUNTIME,
        lambda facts, what: room.tokens_disk(_sides(facts, what)),
    ),
    "pretrain": _supervised("pretrain"),
    "instruct": _supervised("instruct"),
    "sft": _supervised("sft"),
    "reference": _Stage(
        "forward", _reference, lambda facts, what: room.forward_memory(facts), _reference_disk
    ),
    "align": _Stage(
        "train",
        _align,
        lambda facts, what: room.align_memory(facts),
        lambda facts, what: room.align_disk(facts),
        lambda facts, what: room.align_transient(facts),
    ),
    "generate": _Stage(
        "generate",
        _generate,
        lambda facts, what: room.generate_memory(facts),
        lambda facts, what: 12 * facts.prompts() * facts.held_out().single,
    ),
    "evaluate": _Stage(
        "forward",
        _evaluate,
        lambda facts, what: room.forward_memory(facts),
        lambda facts, what: 200 * (facts.prompts() + facts.held_out().rows),
    ),
}
