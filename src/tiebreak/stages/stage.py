"""A stage: what determines it, what it needs, and how it is built into the store.

A stage's key hashes its own settings, its version and its parents' keys, so every key of a run is
known before anything is built, and a new version of one stage re-does that stage and what hangs on
it, and nothing else. Settings are left out of a key by name (`settings_of(group, leave_out)`); none
is let in by name.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tiebreak import interrupt
from tiebreak import store as artefacts
from tiebreak.config.schema import RunConfig
from tiebreak.kept_answers import Share
from tiebreak.store import Artefact, Store

RUN_SEED = "run_seed"  # the setting that tells the runs of a group apart
Paths = Mapping[str, Path]  # role of a parent -> folder of its artefact

# Called after each update with (step, steps, folders of align's parents, model); may raise Pruned.
OnStep = Callable[[int, int, Paths, Any], None]


class TrainingLog(Protocol):
    """Who follows the training log that a build of align writes."""

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None: ...
    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class Context:
    """What a build is given beside its stage: the run that asks for it, who follows it, and which
    share of the items it computes, where it is one of several processes that do."""

    run: RunConfig
    log: TrainingLog | None = None
    on_step: OnStep | None = None
    share: Share = Share()


Builder = Callable[[Context, Path, Paths], None]


@dataclass(frozen=True, eq=False)
class Stage:
    """One step that makes an artefact.

    settings  plain JSON: what it reads of the run, its parents' share left out
    build     build(context, work, paths) fills the folder `work`
    version   raised when the same settings start to give another artefact
    scratch   folders of `work` that go when the artefact is complete
    what      tells two stages of one run and one name apart
    """

    name: str
    settings: Mapping[str, Any]
    build: Builder
    parents: Mapping[str, Stage] = field(default_factory=dict)
    version: int = 1
    scratch: tuple[str, ...] = ()
    what: str = ""

    @functools.cached_property
    def key(self) -> str:
        """16 hex digits: the artefact's name in the store."""
        return artefacts.key(self.name, self.inputs)

    @property
    def inputs(self) -> dict[str, Any]:
        """What the key hashes, and the artefact keeps."""
        return self._inputs(self.settings, {r: p.key for r, p in self.parents.items()})

    @functools.cached_property
    def seedless_key(self) -> str:
        """The key that the stages of runs with other seeds have in common."""
        settings = {k: v for k, v in self.settings.items() if k != RUN_SEED}
        above = {role: parent.seedless_key for role, parent in self.parents.items()}
        return artefacts.key(self.name, self._inputs(settings, above))

    def _inputs(self, settings: Mapping[str, Any], parents: Mapping[str, str]) -> dict[str, Any]:
        inputs: dict[str, Any] = {"settings": settings}
        inputs |= {"parents": dict(parents)} if parents else {}
        inputs |= {"what": self.what} if self.what else {}
        inputs |= {"version": self.version} if self.version != 1 else {}
        return inputs


def order(targets: Iterable[Stage], enough: Callable[[Stage], bool]) -> list[Stage]:
    """The targets and what they are made from, parents first, each once; nothing above a stage of
    which `enough` is there."""
    ordered: dict[tuple[str, str], Stage] = {}

    def visit(stage: Stage) -> None:
        at = stage.name, stage.key
        if at in ordered:
            return
        if not enough(stage):
            for parent in stage.parents.values():
                visit(parent)
        ordered[at] = stage

    for target in targets:
        visit(target)
    return list(ordered.values())


def make(
    target: Stage,
    store: Store,
    context: Context,
    begin: Callable[[Stage], None] = lambda stage: None,
    note: Callable[[Artefact], None] = lambda artefact: None,
) -> Path:
    """The folder of a stage's artefact, building it and what it needs.

    `begin` hears of each stage that is to be built, `note` of each artefact that is used.
    """
    for stage in order([target], lambda stage: store.has(stage.name, stage.key)):
        if not store.has(stage.name, stage.key):
            interrupt.check()
            begin(stage)
        note(_built(stage, store, context))
    return store.path(target.name, target.key)


def _built(stage: Stage, store: Store, context: Context) -> Artefact:
    def build(work: Path) -> None:
        use_threads(context.run.train.execution.num_threads)
        stage.build(context, work, folders(stage, store))

    artefact = store.build(stage.name, stage.key, stage.inputs, build, scratch=stage.scratch)
    if not artefact.reused:
        free_memory()
    return artefact


def folders(stage: Stage, store: Store) -> dict[str, Path]:
    """Where the artefacts of a stage's parents are, by role."""
    return {role: store.path(parent.name, parent.key) for role, parent in stage.parents.items()}


def use_threads(num_threads: int | None) -> None:
    """Set torch's threads. Sums of floats depend on how they are split, so the same setting gives
    the same bits; None leaves torch's own choice, which heeds OMP_NUM_THREADS."""
    if num_threads is not None:
        import torch

        torch.set_num_threads(num_threads)


def free_memory() -> None:
    """A stage's model and optimiser go before the next stage loads its own."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
