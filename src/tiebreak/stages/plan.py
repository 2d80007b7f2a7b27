"""Every stage of a run, evaluations included, with all their keys, before anything is built."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tiebreak import store
from tiebreak.config.schema import JudgeKind, RunConfig
from tiebreak.config.typed import settings_of
from tiebreak.data.sources.source import TRAIN
from tiebreak.errors import UserError, nearest
from tiebreak.stages.align import align_stage, train_settings
from tiebreak.stages.checkpoint import Checkpoint, source_stamps
from tiebreak.stages.evaluators import EVALUATORS
from tiebreak.stages.evaluators.evaluator import OF_JUDGES
from tiebreak.stages.evaluators.judged import identity, question_stamps
from tiebreak.stages.reference import References
from tiebreak.stages.stage import Stage, order
from tiebreak.stages.start import start_checkpoint
from tiebreak.stages.tokens import tokens_stage
from tiebreak.store import Settings, Store


class Measured(NamedTuple):
    """One evaluator in a plan. definition: the same for all models measured in the same way."""

    definition: str
    start: Stage
    policy: Stage


@dataclass(frozen=True, eq=False)
class RunPlan:
    """The stages of one run, by what they are for.

    tokens, held_out: training rows, and rows that are measured on, as token ids. data_hash: names
    the training rows before they are token ids. evaluation_id: names how a model is measured,
    whichever evaluators do it. of_start: evaluator -> its stage for the start model. evaluators:
    evaluator -> definition.
    """

    start: Checkpoint
    tokens: Stage
    align: Stage
    held_out: Stage
    data_hash: str
    evaluation_id: str
    of_start: Mapping[str, Stage]
    evaluators: Mapping[str, str]

    @functools.cached_property
    def evaluations(self) -> Mapping[str, Measured]:
        """By evaluator; made when first asked for, since a name of a run takes none of them."""
        measured: dict[str, Measured] = {}
        for name, start in self.of_start.items():
            needed = {need: measured[need].policy for need in EVALUATORS[name].needs}
            policy = EVALUATORS[name].of_policy(start, self.align, needed)
            measured[name] = Measured(self.evaluators[name], start, policy)
        return measured

    @functools.cached_property
    def own(self) -> list[Stage]:
        """The stages that no run of another id has: the policy and what is measured on it."""
        return [self.align, *(one.policy for one in self.evaluations.values())]

    def targets(self) -> list[Stage]:
        """What a run is done for, in the order it is done: a mistake in the data comes first."""
        measured = self.evaluations.values()
        ends = [stage for one in measured for stage in (one.start, one.policy)]
        return [self.tokens, self.held_out, self.align, *ends]

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
    shared = _shared(_Question(run, (source_stamps(run), run.data.stamps(), question_stamps(run))))
    train = shared.train[run.method.needs.reference]
    align = align_stage(run, shared.start, shared.tokens, shared.references, train)
    return RunPlan(
        shared.start, shared.tokens, align, shared.rows, shared.data_hash, shared.evaluation_id,
        shared.of_start, shared.evaluators,
    )  # fmt: skip


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
    train: Mapping[bool, Settings]


@functools.lru_cache(maxsize=1024)
def _shared(question: _Question) -> _Shared:
    run = question.run
    start = start_checkpoint(run)
    tokens = tokens_stage(run, start, TRAIN)
    rows = tokens_stage(run, start, str(run.evaluation.split))
    data = store.key("data", run.data.content(TRAIN))
    measured = _measured(run, start, rows)
    return _Shared(
        start, tokens, References.of(run, start, tokens), rows, data, _evaluation_id(run),
        {name: stage for name, (_, stage) in measured.items()},
        {name: definition for name, (definition, _) in measured.items()},
        {needed: train_settings(run.train, needed) for needed in (True, False)},
    )  # fmt: skip


def _evaluation_id(run: RunConfig) -> str:
    rows = run.data.content(str(run.evaluation.split))
    how = settings_of(run.evaluation, frozenset({"name", "evaluators"}) | OF_JUDGES)
    judge = {"judge": identity(run)} if run.evaluation.judge.kind is not JudgeKind.NONE else {}
    return store.key("evaluation", {"rows": rows, "how": how, **judge})[:8]


def _measured(run: RunConfig, start: Checkpoint, rows: Stage) -> dict[str, tuple[str, Stage]]:
    """The evaluators asked for, and those they need, that apply to this run."""
    measured: dict[str, tuple[str, Stage]] = {}

    def add(name: str) -> None:
        evaluator = EVALUATORS[name]
        if name in measured or not evaluator.applies(run):
            return
        for need in evaluator.needs:
            add(need)
        definitions = {need: measured[need][0] for need in evaluator.needs}
        stages = {need: measured[need][1] for need in evaluator.needs}
        definition = evaluator.definition(run, definitions)
        measured[name] = definition, evaluator.stage(run, start, rows, stages)

    for name in run.evaluation.evaluators:
        if name not in EVALUATORS:
            raise UserError(
                f"evaluation.evaluators: unknown evaluator {name!r}{nearest(name, EVALUATORS)}; "
                f"there are {', '.join(EVALUATORS)}"
            )
        add(name)
    return measured
