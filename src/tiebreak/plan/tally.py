"""Which stages runs still need, each once, and the cost of each.

A study has thousands of runs that differ by their seed, or by settings of training that take no
time. Everything is worked out once for runs that are alike but for these, with a seed that is
nobody's: a stage whose inputs hold that seed is another one for every seed, and `align`, with what
needs its policy, is another one for other settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.config.identity import trains_sft
from tiebreak.config.schema import Run
from tiebreak.plan.facts import Book, Facts
from tiebreak.plan.machine import Machine, Place, Source, Speeds, processes
from tiebreak.plan.marks import (
    NO_SEED,
    key_text,
    mark_of,
    outline,
    own_settings,
    sha256,
)
from tiebreak.plan.past import graph
from tiebreak.plan.room import record_disk
from tiebreak.plan.work import load
from tiebreak.stages.align import Line
from tiebreak.stages.stage import Stage
from tiebreak.store import Store


@dataclass(frozen=True)
class Cost:
    """None: not known, and `missing` says why. memory: bytes at most; disk: bytes kept; transient:
    bytes while it is built; source: of the seconds."""

    seconds: float | None
    memory: int | None
    disk: int | None
    transient: int | None
    source: Source
    missing: str = ""


@dataclass(frozen=True)
class StageCost:
    """One artefact to build. number: its place in the estimate; what: tells two of a name apart."""

    number: int
    name: str
    what: str
    cost: Cost


@dataclass(frozen=True)
class RunCost:
    """A run to do, and what it needs that is not in the store. record: bytes of its record."""

    run: Run
    stages: tuple[StageCost, ...]
    record: int

    @property
    def cost(self) -> Cost:
        """As if it were alone."""
        costs = [stage.cost for stage in self.stages]
        known = [one.memory for one in costs if one.memory is not None]
        disk = total([one.disk for one in costs])
        return Cost(
            total([one.seconds for one in costs]),
            max(known, default=0) if len(known) == len(costs) else None,
            None if disk is None else round(disk) + self.record,
            max((one.transient or 0 for one in costs), default=0),
            max((one.source for one in costs), key=list(Source).index, default=Source.SAME),
            next((one.missing for one in costs if one.missing), ""),
        )


def total(values: Sequence[float | None]) -> float | None:
    """The sum; None when one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


@dataclass(frozen=True)
class _Node:
    """A stage of runs that are alike but for the seed. mark: what it is; trained: align, or what
    needs its policy; parents: their places."""

    stage: Stage
    mark: str
    seeded: bool
    trained: bool
    parents: tuple[int, ...]
    policy: int | None
    cost: Cost

    def of(self, run: Run) -> tuple[str, int | None]:
        """Which artefact this is for a run."""
        return self.mark, run.seed if self.seeded else None


@dataclass(frozen=True)
class _Alike:
    """stages: of these very settings of training, made when a key is asked for."""

    nodes: tuple[_Node, ...]
    roots: tuple[int, ...]
    record: int
    stages: list[Stage]

    def tuned(self, own: str) -> _Alike:
        """The same for runs with other settings of training."""
        nodes = [dataclasses.replace(node, mark=f"{node.mark} {own}") if node.trained else node
                 for node in self.nodes]  # fmt: skip
        return _Alike(tuple(nodes), self.roots, self.record, [])


class Tally:
    """Counts the stages of one run after another."""

    def __init__(self, store: Store, speeds: Speeds, machine: Machine) -> None:
        self.stages: list[StageCost] = []
        self._store, self._speeds, self._machine = store, speeds, machine
        self._book = Book()
        self._alike: dict[tuple[Any, ...], _Alike] = {}
        self._templates: dict[tuple[Any, ...], _Alike] = {}
        self._numbers: dict[tuple[str, int | None], int] = {}
        self._cached: dict[tuple[str, int | None], bool] = {}
        self._published: dict[str, frozenset[str]] = {}
        self._texts: dict[str, str] = {}
        self._checked: set[str] = set()
        self._costs: dict[tuple[Any, ...], dict[tuple[str, str], Cost]] = {}

    def add(self, run: Run) -> RunCost:
        at = (run.model, run.method_name, run.method, run.scenario, run.data, run.train,
              run.evaluation)  # fmt: skip
        alike = self._alike.get(at)
        if alike is None:
            alike = self._alike[at] = self._alike_for(run)
        needed = [False] * len(alike.nodes)
        for root in alike.roots:
            needed[root] = True
        for place in reversed(range(len(needed))):  # nothing below a cached stage is needed
            needed[place] = needed[place] and not self._is_cached(run, alike, place)
            if needed[place]:
                for parent in alike.nodes[place].parents:
                    needed[parent] = True
        stages = [self._stage(run, node) for node, asked in
                  zip(alike.nodes, needed, strict=True) if asked]  # fmt: skip
        return RunCost(run, tuple(stages), alike.record)

    def _alike_for(self, run: Run) -> _Alike:
        at = (run.model, run.method_name, run.method.needs, run.scenario, run.data,
              outline(run.train), run.evaluation)  # fmt: skip
        own = own_settings(run)
        if at in self._templates:
            return self._templates[at].tuned(own)
        template = self._templates[at] = self._work_out(run)
        return dataclasses.replace(template.tuned(own), stages=template.stages)

    def _stage(self, run: Run, node: _Node) -> StageCost:
        """Made on first sight, parents first."""
        at = node.of(run)
        if at not in self._numbers:
            self._numbers[at] = number = len(self.stages)
            self.stages.append(StageCost(number, node.stage.name, node.stage.what, node.cost))
        return self.stages[self._numbers[at]]

    def _is_cached(self, run: Run, alike: _Alike, place: int) -> bool:
        at = alike.nodes[place].of(run)
        if at not in self._cached:
            self._cached[at] = self._look(run, alike, place)
        return self._cached[at]

    def _look(self, run: Run, alike: _Alike, place: int) -> bool:
        node = alike.nodes[place]
        published = self._names(node.stage.name)
        if not published:
            return False
        if node.policy is not None and not self._is_cached(run, alike, node.policy):
            return False  # a policy that is not there was not judged: keys take time
        key = self._key(run, alike, place)
        return key in published and self._store.has(node.stage.name, str(key))

    def _key(self, run: Run, alike: _Alike, place: int) -> str | None:
        node = alike.nodes[place]
        stage = node.stage
        if node.trained:
            if not alike.stages:
                unseeded = dataclasses.replace(run, seed=NO_SEED)
                alike.stages.extend(graph(unseeded, Line.of(unseeded)))
            stage = alike.stages[place]
        if not node.seeded:
            return stage.key(self._store)
        if stage.by_content:
            return graph(run, Line.of(run))[place].key(self._store)
        # Making the stages of every seed again takes too long: its digits are put into the text.
        if node.mark not in self._texts:
            self._texts[node.mark] = text = key_text(stage)
            if stage.name not in self._checked:
                assert sha256(text)[:16] == stage.key(self._store), "store.key hashes another text"
                self._checked.add(stage.name)
        return sha256(self._texts[node.mark].replace(str(NO_SEED), str(run.seed)))[:16]

    def _names(self, stage: str) -> frozenset[str]:
        """Keys of the artefacts of a stage, listed once."""
        if stage not in self._published:
            folder = self._store.root / stage
            found = folder.iterdir() if folder.is_dir() else ()
            self._published[stage] = frozenset(p.name for p in found if p.name[0] != ".")
        return self._published[stage]

    def _work_out(self, run: Run) -> _Alike:
        run = dataclasses.replace(run, seed=NO_SEED)
        line = Line.of(run)
        facts, stages = self._facts(run, line), graph(run, line)
        places = {id(stage): place for place, stage in enumerate(stages)}
        marks: dict[int, str] = {}  # of inputs that others contain
        costs = self._known_costs(facts)
        nodes: list[_Node] = []
        for stage in stages:
            parents = {role: places[id(parent)] for role, parent in stage.parents.items()}
            above = [nodes[place] for place in parents.values()]
            mark, seeded = mark_of(stage, run, above, marks)
            trained = stage is line.align or any(node.trained for node in above)
            cost = costs.get((stage.name, stage.what)) or self._counted(stage, facts)
            costs[stage.name, stage.what] = cost
            policy = parents.get("policy")
            around = tuple(parents.values())
            nodes.append(_Node(stage, mark, seeded, trained, around, policy, cost))
        last = {*range(len(nodes))} - {place for node in nodes for place in node.parents}
        roots = last | {places[id(line.tokens)], places[id(line.align)]}  # a run reads both
        return _Alike(tuple(nodes), tuple(sorted(roots)), record_disk(facts), stages)

    def _facts(self, run: Run, line: Line) -> Facts:
        def folder(tokens: Stage) -> Path:
            return self._store.path(tokens.name, str(tokens.key(self._store)))

        def folders() -> tuple[Path, Path | None]:
            made = line.start.stage if trains_sft(run) else None
            return folder(line.tokens), None if made is None else folder(made.parents["tokens"])

        return self._book.facts(run, folders)

    def _known_costs(self, facts: Facts) -> dict[tuple[str, str], Cost]:
        """By stage; the same for all values of hyper-parameters that take no time."""
        run = facts.run
        at = (id(facts.lengths), outline(run.train), run.evaluation, run.method_name,
              run.method.needs)  # fmt: skip
        return self._costs.setdefault(at, {})

    def _counted(self, stage: Stage, facts: Facts) -> Cost:
        asked, machine = load(stage.name, stage.what, facts), self._machine
        flops = None
        if asked.work is not None and facts.shape is not None:
            flops = asked.work * facts.shape.parameters
        place = Place.of(stage.name, stage.what, facts)
        threads = machine.threads(facts.run, stage.name)
        seconds, source = self._speeds.seconds(place, asked, flops, threads, bool(machine.devices))
        memory = asked.memory
        if memory is not None and not machine.devices:  # else each process has a device's
            memory *= processes(facts.run, stage.name)
        return Cost(seconds, memory, asked.disk, asked.transient, source, asked.missing)
