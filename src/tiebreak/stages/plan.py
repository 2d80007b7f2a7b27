"""Every stage of a run, evaluations included, with all their keys, before anything is built."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tiebreak import store
from tiebreak.config.schema import EvaluationConfig, JudgeKind, RunConfig
from tiebreak.config.typed import settings_of
from tiebreak.data.pair_sets import pair_sets
from tiebreak.data.sources.source import TRAIN
from tiebreak.errors import UserError, nearest
from tiebreak.harness.tasks import benchmarks_of
from tiebreak.metrics import GROUPS
from tiebreak.stages.align import align_stage, train_settings
from tiebreak.stages.checkpoint import Checkpoint, source_stamps
from tiebreak.stages.evaluators import EVALUATORS, evaluator_of
from tiebreak.stages.evaluators.evaluator import (
    DRAWN,
    OF_BENCHMARKS,
    OF_JUDGES,
    OF_PAIR_SETS,
    of_answers,
)
from tiebreak.stages.evaluators.judged import identity, question_stamps
from tiebreak.stages.overlap import overlap_stage
from tiebreak.stages.reference import OF_TRAINING, References
from tiebreak.stages.stage import Context, Paths, Stage, order
from tiebreak.stages.start import start_checkpoint
from tiebreak.stages.tokens import pair_rows_stage, tokens_stage
from tiebreak.store import Settings, Store

# Names of artefacts and of groups of metrics, which no pair set may have.
TAKEN = {*EVALUATORS, *GROUPS, *"tokens pretrain instruct sft reference align overlap".split()}


class Measured(NamedTuple):
    """One evaluator in a plan. definition: the same for all models measured in the same way. start:
    None where no policy is trained: the policy is then the model as it is given."""

    definition: str
    start: Stage | None
    policy: Stage

    @property
    def stages(self) -> list[Stage]:
        return [self.policy] if self.start is None else [self.start, self.policy]


@dataclass(frozen=True, eq=False)
class RunPlan:
    """The stages of one run, by what they are for.

    trains: whether there is a policy to train; else `align` only names the model that is measured
    as it is, and is never made. tokens, held_out: training rows, and rows that are measured on, as
    token ids. data_hash: names the training rows before they are token ids. evaluation_id: names
    how a model is measured, whichever evaluators do it. of_start: evaluator -> its stage for the
    start model. evaluators: evaluator -> definition. pair_rows: pair set -> its rows as token ids.
    overlaps: evaluator with questions that somebody else wrote -> what these share with the
    training data.
    """

    trains: bool
    start: Checkpoint
    tokens: Stage
    align: Stage
    held_out: Stage
    data_hash: str
    evaluation_id: str
    of_start: Mapping[str, Stage]
    evaluators: Mapping[str, str]
    asked: EvaluationConfig
    pair_rows: Mapping[str, Stage]
    overlaps: Mapping[str, Stage]

    @functools.cached_property
    def evaluations(self) -> Mapping[str, Measured]:
        """By evaluator; made when first asked for, since a name of a run takes none of them."""
        measured: dict[str, Measured] = {}
        for name, start in self.of_start.items():
            if not self.trains:
                measured[name] = Measured(self.evaluators[name], None, start)
                continue
            evaluator = evaluator_of(name, self.asked)
            needed = {need: measured[need].policy for need in evaluator.needs}
            policy = evaluator.of_policy(start, self.align, needed)
            measured[name] = Measured(self.evaluators[name], start, policy)
        return measured

    @property
    def own_names(self) -> Iterator[str]:
        """What the stages of `own` are called."""
        return iter(("align", *self.of_start) if self.trains else ())

    @functools.cached_property
    def own(self) -> list[Stage]:
        """The stages that no run of another id has: the policy and what is measured on it."""
        if not self.trains:
            return []
        return [self.align, *(one.policy for one in self.evaluations.values())]

    def targets(self) -> list[Stage]:
        """What a run is done for, in the order it is done: a mistake in the data comes first."""
        ends = [stage for one in self.evaluations.values() for stage in one.stages]
        if not self.trains:
            return ends
        first = [*self.pair_rows.values(), *(self.overlaps[name] for name in self.pair_rows)]
        return [self.tokens, self.held_out, *first, self.align, *ends, *self.overlaps.values()]

    def stages(self) -> list[Stage]:
        """Every stage, parents first, each once."""
        return order(self.targets(), lambda stage: False)

    def missing(self, store: Store) -> list[Stage]:
        """Those to be built, parents first; nothing that only a stored stage needs."""
        return [stage for stage, stored in self.standing(store) if not stored]

    def standing(self, store: Store) -> list[tuple[Stage, bool]]:
        """Stages that matter now, parents first, and whether each is in the store."""
        stored: dict[tuple[str, str], bool] = {}

        def is_stored(stage: Stage) -> bool:
            at = stage.name, stage.key
            if at not in stored:
                stored[at] = store.has(*at)
            return stored[at]

        return [(stage, is_stored(stage)) for stage in order(self.targets(), is_stored)]


def plan_of(run: RunConfig) -> RunPlan:
    """The stages of a run. UserError: an evaluator is unknown, or a file or model is not there."""
    sets = tuple(one.stamp() for one in pair_sets(run.evaluation.pair_sets).values())
    shared = _shared(
        _Question(run, (source_stamps(run), run.data.stamps(), sets, question_stamps(run)))
    )
    if run.trains:
        train = shared.train[run.method.needs.reference]
        align = align_stage(run, shared.start, shared.tokens, shared.references, train)
    else:
        align = _as_given(run, shared.start)
    return RunPlan(
        run.trains, shared.start, shared.tokens, align, shared.rows, shared.data_hash,
        shared.evaluation_id, shared.of_start, shared.evaluators, run.evaluation, shared.pair_rows,
        shared.overlaps,
    )  # fmt: skip


def _as_given(run: RunConfig, start: Checkpoint) -> Stage:
    """What names a checkpoint that is only measured: its content, how it is read and computed with,
    and what it is called, so that one checkpoint can have a row under each of two names. The
    artefacts of its evaluators know nothing of the name."""

    def build(context: Context, work: Path, paths: Paths) -> None:
        raise AssertionError("a given checkpoint is made by nobody")

    kwargs = run.model.chat_template_kwargs
    settings = {
        **settings_of(run.train, OF_TRAINING), **start.settings, "name": run.model.name,
        "tokenizer": dict(start.tokenizer_settings),
        **({"chat_template_kwargs": dict(kwargs)} if kwargs else {}),
    }  # fmt: skip
    return Stage("checkpoint", settings, build)


@dataclass(frozen=True, eq=False)
class _Question:
    """What the stages that many runs share depend on: the methods and most seeds are no part.

    Equal where the groups are the same objects, as those of one plan are: comparing them by their
    values takes longer than anything else here. stamps: of the files that a model or data set given
    by its place consists of.
    """

    run: RunConfig
    stamps: Hashable

    @functools.cached_property
    def _of(self) -> tuple[Hashable, ...]:
        run = self.run
        groups = (run.model, run.scenario, run.data, run.train, run.evaluation)
        return (*map(id, groups), run.seed if run.trains_sft else None, self.stamps)

    def __hash__(self) -> int:
        return hash(self._of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Question) and self._of == other._of


@dataclass(frozen=True)
class _Shared:
    """What `plan_of` gives to every run that asks the same."""

    start: Checkpoint
    tokens: Stage
    references: References
    rows: Stage
    data_hash: str
    evaluation_id: str
    of_start: Mapping[str, Stage]
    evaluators: Mapping[str, str]
    pair_rows: Mapping[str, Stage]
    overlaps: Mapping[str, Stage]
    train: Mapping[bool, Settings]


@functools.lru_cache(maxsize=1024)
def _shared(question: _Question) -> _Shared:
    run = question.run
    start = start_checkpoint(run)
    tokens = tokens_stage(run, start, TRAIN)
    rows = tokens_stage(run, start, str(run.evaluation.split))
    data = store.key("data", run.data.content(TRAIN))
    sets = pair_sets(run.evaluation.pair_sets)
    pair_rows = {name: pair_rows_stage(run, start, one) for name, one in sets.items()}
    measured = _measured(run, start, rows, pair_rows)
    asked = {name: measured[name][1] for name in benchmarks_of(run.evaluation)} | pair_rows
    overlaps = {
        name: overlap_stage(run, start, tokens, name, at)
        for name, at in (asked.items() if run.trains else ())
    }
    return _Shared(
        start, tokens, References.of(run, start, tokens), rows, data, _evaluation_id(run),
        {name: stage for name, (_, stage) in measured.items()},
        {name: definition for name, (definition, _) in measured.items()}, pair_rows, overlaps,
        {needed: train_settings(run.train, needed) for needed in (True, False)},
    )  # fmt: skip


def _evaluation_id(run: RunConfig) -> str:
    rows = run.data.content(str(run.evaluation.split))
    unread = OF_BENCHMARKS | OF_PAIR_SETS | OF_JUDGES | DRAWN | {"name", "evaluators"}
    how = {**settings_of(run.evaluation, unread), **of_answers(run.evaluation)}
    judge = {"judge": identity(run)} if run.evaluation.judge.kind is not JudgeKind.NONE else {}
    return store.key("evaluation", {"rows": rows, "how": how, **judge})[:8]


def _asked_for(run: RunConfig, pair_rows: Mapping[str, Stage]) -> Iterator[str]:
    """Names of evaluators, benchmarks and pair sets. UserError: one is unknown, or another's."""
    for name in run.evaluation.evaluators:
        if name not in EVALUATORS:
            raise UserError(
                f"evaluation.evaluators: unknown evaluator {name!r}{nearest(name, EVALUATORS)}; "
                f"there are {', '.join(EVALUATORS)}"
            )
        yield name
    for name in benchmarks_of(run.evaluation):
        if name in EVALUATORS:
            raise UserError(f"evaluation.benchmarks: {name} is an evaluator's name, and no task's")
        yield name
    for name in pair_rows:
        if name in TAKEN or name in benchmarks_of(run.evaluation):
            raise UserError(
                f"evaluation.pair_sets: {name} is the name of something else that is made or "
                "measured here; rename the file"
            )
        yield name


def _measured(
    run: RunConfig, start: Checkpoint, rows: Stage, pair_rows: Mapping[str, Stage]
) -> dict[str, tuple[str, Stage]]:
    """The evaluators asked for, and those they need, that apply to this run."""
    measured: dict[str, tuple[str, Stage]] = {}

    def add(name: str) -> None:
        evaluator = evaluator_of(name, run.evaluation)
        if evaluator.asks is None and not run.data.has_rows:
            raise UserError(
                f"evaluation.evaluators: {name} needs held-out rows; give data=FILE (or ORG/NAME "
                "of the Hub), or leave it out"
            )
        if name in measured or not evaluator.applies(run):
            return
        for need in evaluator.needs:
            add(need)
        definitions = {need: measured[need][0] for need in evaluator.needs}
        stages = {need: measured[need][1] for need in evaluator.needs}
        definition = evaluator.definition(run, definitions)
        own = pair_rows.get(name, rows)
        measured[name] = definition, evaluator.stage(run, start, own, stages)

    for name in _asked_for(run, pair_rows):
        add(name)
    if not measured and not run.trains:
        raise UserError(
            "nothing to measure; give data=FILE for what needs held-out rows, or benchmarks: "
            "evaluation=arizona, or evaluation.benchmarks=[arc_challenge@25,hellaswag@10]"
        )
    return measured
