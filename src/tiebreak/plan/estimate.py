"""What runs will cost before they are done: seconds, memory, disk and money, stage by stage.

Only stages that are not in the store count, each once however many runs share it.
"""

from __future__ import annotations

import functools
import gc
import heapq
from collections import Counter
from collections.abc import Generator, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tiebreak import provenance
from tiebreak.compose import Run
from tiebreak.home import home
from tiebreak.plan.memory import Parts
from tiebreak.plan.sizes import RunSize, SizeCache, side_of
from tiebreak.plan.speeds import Machine, TimeFrom, read_speeds
from tiebreak.plan.stage_costs import record_disk, stage_cost
from tiebreak.stages.stage import Stage, order
from tiebreak.store import Store
from tiebreak.track.record import is_done

WORKER_SECONDS = 10.0  # to start a worker: the libraries take most of it


@dataclass(frozen=True)
class Cost:
    """None: not known, and `missing` says why. memory: bytes at most; disk: bytes kept; transient:
    bytes while it is built; parts: of the memory of one process, by what is held."""

    seconds: float | None
    memory: int | None
    disk: int | None
    transient: int | None
    time_from: TimeFrom
    missing: str = ""
    parts: Parts | None = None


@dataclass(frozen=True, eq=False)
class NeededStage:
    """An artefact to build. own: it stands for the one that each of many runs has for itself, and
    only what it is called and what it costs are theirs (`RunCost.to_build` has the stages)."""

    stage: Stage
    cost: Cost
    own: bool = False

    @property
    def title(self) -> str:
        return title(self.stage.name, self.stage.what)


def title(name: str, what: str) -> str:
    """How a kind of stage is called in an estimate."""
    return f"{name} ({what})" if what else name


@dataclass(frozen=True)
class RunCost:
    """A run to do, the stages it needs that are not in the store, and the bytes of its record."""

    run: Run
    stages: tuple[NeededStage, ...]
    record: int

    def to_build(self) -> list[tuple[Stage, Cost]]:
        """The run's stages with their keys, and what they cost."""
        own = {(stage.name, stage.what): stage for stage in self.run.plan.own}
        return [
            (own[one.stage.name, one.stage.what] if one.own else one.stage, one.cost)
            for one in self.stages
        ]


def total(values: Sequence[float | None]) -> float | None:
    """The sum; None when one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def worst(sources: Sequence[TimeFrom]) -> TimeFrom:
    """The least certain of these sources of a time."""
    return max(sources, key=list(TimeFrom).index, default=TimeFrom.SAME)


@dataclass(frozen=True)
class CostEstimate:
    """What is left to do. finished: runs that were done before; unread: records of no use."""

    stages: tuple[NeededStage, ...]
    runs: tuple[RunCost, ...]
    finished: int
    workers: int
    machine: Machine
    unread: int = 0

    def total_seconds(self, workers: int | None = None) -> float:
        """Seconds by the clock, runs handed out in order and shared stages waited for. What is not
        known counts as nothing: then this is the least it takes."""
        if not self.runs:
            return 0.0
        free = [WORKER_SECONDS] * min(workers or self.workers, len(self.runs))
        done: dict[NeededStage, float] = {}
        for run in self.runs:
            now = heapq.heappop(free)
            for needed in run.stages:
                if needed.own:
                    now += needed.cost.seconds or 0.0
                elif (ready := done.get(needed)) is None:
                    done[needed] = now = now + (needed.cost.seconds or 0.0)
                elif ready > now:
                    now = ready
            heapq.heappush(free, now)
        return max(free)

    def work_seconds(self) -> float | None:
        """Seconds of all stages, one after another; None when one is not known."""
        return total([needed.cost.seconds for needed in self.stages])

    def memory(self) -> int:
        """Bytes of the largest stage, as far as known."""
        return max((needed.cost.memory or 0 for needed in self.stages), default=0)

    @functools.cached_property
    def disk(self) -> int:
        """Bytes kept: artefacts and records."""
        artefacts = sum(needed.cost.disk or 0 for needed in self.stages)
        return artefacts + sum(run.record for run in self.runs)

    def transient(self) -> int:
        """Bytes of checkpoints at most, every worker at its largest."""
        largest = sorted((needed.cost.transient or 0 for needed in self.stages), reverse=True)
        return sum(largest[: self.workers])

    def money(self, price_per_hour: float) -> float:
        """Price of a machine for the time by the clock, in the currency of `price_per_hour`."""
        return self.total_seconds() / 3600 * price_per_hour


def estimate(
    runs: Sequence[Run],
    workers: int = 1,
    *,
    root: Path | None = None,
    machine: Machine | None = None,
) -> CostEstimate:
    """The cost of the runs that are not done. root: where artefacts and records are (default:
    home)."""
    root = root or home()
    machine, records = machine or Machine.here(root), root / "runs"
    with uncollected():
        counter = _Counter(runs, root, machine)
        begun = {p.name for p in records.iterdir()} if records.is_dir() else set()
        costs = tuple(
            counter.add(run)
            for run in runs
            if run.run_id not in begun
            or not is_done(records / run.run_id, run.evaluation_id, run.evaluators)
        )
    stages, finished = tuple(counter.needed), len(runs) - len(costs)
    return CostEstimate(stages, costs, finished, workers, counter.machine, counter.speeds.unread)


def workers_for(workers: int | None, runs: Sequence[Run]) -> int:
    """How many runs at once: as asked, else as many as have a core for each of their processes,
    where every process keeps to one core; else one, which may use them all."""
    if workers:
        return workers
    single = all(run.train.execution.num_threads == 1 for run in runs)
    cores = max((run.train.execution.num_processes for run in runs), default=1)
    return max(1, provenance.cpus() // cores) if single else 1


@contextmanager
def uncollected() -> Generator[None]:
    """Python's garbage collector off, while thousands of objects are made that stay: it would look
    through all of them again and again, a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Stored:
    """Which stages are in a store: its folders are listed once, each artefact is looked at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._names: dict[str, frozenset[str]] = {}
        self._known: dict[tuple[str, str], bool] = {}

    def names(self, of: str) -> frozenset[str]:
        """What the folder of stages of this name holds."""
        if of not in self._names:
            folder = self.store.root / of
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            self._names[of] = frozenset(names)
        return self._names[of]

    def __contains__(self, stage: Stage) -> bool:
        names = self.names(stage.name)
        if not names or stage.key not in names:
            return False
        at = stage.name, stage.key
        if at not in self._known:
            self._known[at] = self.store.has(*at)
        return self._known[at]


class _Counter:
    """Counts the stages of one run after another. needed: each that is to be built, once; of a
    run's own, one that stands for all alike, once for every run."""

    def __init__(self, runs: Sequence[Run], root: Path, machine: Machine) -> None:
        self.needed: list[NeededStage] = []
        times = Counter(run.run_id for run in runs)
        self._twice = {run_id for run_id, number in times.items() if number > 1}
        self._store = Store(root / "artefacts")
        self._stored = _Stored(self._store)
        self.speeds, self.machine = read_speeds(root / "runs", self._store, machine)
        self._sizes = SizeCache()
        self._shared: dict[Hashable, NeededStage] = {}
        self._counted: set[NeededStage] = set()
        self._alike: dict[Hashable, tuple[RunSize, int, dict[tuple[str, str], Cost]]] = {}
        self._patterns: dict[Hashable, tuple[NeededStage, ...]] = {}

    def add(self, run: Run) -> RunCost:
        # Runs that differ in the method's settings only share the object `start`, and all costs.
        alike = id(run.plan.start), run.method_name, run.method.needs
        if alike not in self._alike:
            size = self._sizes.size(run, lambda: self._tokens(run))
            self._alike[alike] = size, record_disk(size), {}
        size, record, costs = self._alike[alike]
        if run.run_id in self._twice:  # measured in two ways: what it trains is counted once
            pattern = self._pattern(run, size, costs, frozenset())
        else:
            parents = tuple(map(id, run.plan.align.parents.values()))
            # A key takes time, and is not asked for where no artefact of that name is.
            some = any(map(self._stored.names, run.plan.own_names))
            stored = tuple(stage in self._stored for stage in run.plan.own) if some else ()
            at = alike, parents, stored
            if at not in self._patterns:
                own = frozenset(map(id, run.plan.own))
                self._patterns[at] = self._pattern(run, size, costs, own)
            pattern = self._patterns[at]
        self.needed += [one for one in pattern if one.own or one not in self._counted]
        self._counted.update(pattern)
        return RunCost(run, pattern, record)

    def _pattern(
        self, run: Run, size: RunSize, costs: dict[tuple[str, str], Cost], own: frozenset[int]
    ) -> tuple[NeededStage, ...]:
        """The stages to build, parents first. own: of those that no other run has."""
        return tuple(
            NeededStage(stage, self._cost_of(stage, size, costs), own=True)
            if id(stage) in own
            else self._needed(stage, size, costs)
            for stage in order(run.plan.targets(), self._stored.__contains__)
            if stage not in self._stored
        )

    def _tokens(self, run: Run) -> dict[str, Path]:
        """Where the rows of each side are, or will be, as token ids."""
        return {side_of(stage.what): self._store.path(stage.name, stage.key)
                for stage in run.plan.stages() if stage.name == "tokens"}  # fmt: skip

    def _needed(
        self, stage: Stage, size: RunSize, costs: dict[tuple[str, str], Cost]
    ) -> NeededStage:
        named = stage.name, stage.key
        if named not in self._shared:
            self._shared[named] = NeededStage(stage, self._cost_of(stage, size, costs))
        return self._shared[named]

    def _cost_of(self, stage: Stage, size: RunSize, costs: dict[tuple[str, str], Cost]) -> Cost:
        kind = stage.name, stage.what
        if kind not in costs:
            costs[kind] = self._cost(stage, size)
        return costs[kind]

    def _cost(self, stage: Stage, size: RunSize) -> Cost:
        machine = self.machine
        cost = stage_cost(stage.name, stage.what, size, machine.place)
        seconds, source = self.speeds.seconds(stage.name, stage.what, cost, size, machine)
        memory = cost.memory
        if memory is not None and not machine.place.on_gpu:  # else each process has a GPU's
            memory *= machine.processes(size.run, stage.name)
        return Cost(
            seconds, memory, cost.disk, cost.transient, source, cost.missing, cost.parts
        )  # fmt: skip
