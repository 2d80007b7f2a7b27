"""What an estimate counts, held against the stages of every run made one by one."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiebreak.config.identity import RESULT_VERSION
from tiebreak.stages.evaluate import evaluation_stages

from tiebreak.compose import compose
from tiebreak.config.schema import Run
from tiebreak.plan import tally
from tiebreak.plan.estimate import estimate
from tiebreak.plan.machine import Machine
from tiebreak.plan.past import graph
from tiebreak.stages.align import Line
from tiebreak.stages.stage import Stage
from tiebreak.store import Store

HOST = {"system": "Linux", "machine": "x86_64", "cpus": 2, "memory_gib": 8.0, "devices": []}
MACHINE = Machine(HOST, memory=8 * 2**30, free=2**40)
AXES = (
    ("scenario=align-from-base", "scenario=sft-then-align", "scenario=align-from-instruct"),
    ("method=dpo", "method=kto", "method=simpo"),
    ("method.beta=0.1", "method.beta=0.3"),
    ("train.learning_rate=1e-4", "train.learning_rate=2e-4", "train.sft.learning_rate=1e-3",
     "train.drift=false", "train.adapter=lora", "train.name=other"),
    ("evaluation.split=test", "evaluation.split=validation"),
)  # fmt: skip


def every_run() -> list[Run]:
    """Each axis but the seed varies what another stage depends on, or only the policy."""
    return [compose(overrides) for overrides in itertools.product(*AXES, ("seed=1", "seed=2"))]


def identity(stage: Stage, store: Store) -> Any:
    if stage.by_content:
        return stage.name, stage.what, *(identity(p, store) for p in stage.parents.values())
    return stage.name, stage.key(store)


def names(stages: Any) -> Counter[tuple[str, str]]:
    return Counter((stage.name, stage.what) for stage in stages)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return every_run()


def test_each_artefact_is_counted_once(runs: list[Run], tmp_path: Path) -> None:
    store = Store(tmp_path / "artefacts")
    wanted = {identity(s, store): s for run in runs for s in graph(run, Line.of(run))}
    found = estimate(runs, root=tmp_path, machine=MACHINE)
    assert names(found.stages) == names(wanted.values())
    for run, cost in zip(runs, found.runs, strict=True):
        assert names(cost.stages) == names(graph(run, Line.of(run)))


def test_what_is_in_the_store_is_found(runs: list[Run], tmp_path: Path) -> None:
    store = Store(tmp_path / "artefacts")
    for run in runs[:: len(runs) // 20]:
        for stage in graph(run, Line.of(run)):
            if not stage.by_content:
                publish(stage, store)
    found = estimate(runs, root=tmp_path, machine=MACHINE)
    for run, cost in zip(runs, found.runs, strict=True):
        assert names(cost.stages) == names(needed(run, store))


def publish(stage: Stage, store: Store) -> None:
    key = stage.key(store)
    assert key is not None
    inputs = {**stage.inputs({}), "result_version": RESULT_VERSION}
    store.build(stage.name, key, inputs, lambda work: (work / "file").touch())


def needed(run: Run, store: Store) -> list[Stage]:
    """What a run lacks, and what that is made from, unless it is there."""
    line, left = Line.of(run), {}

    def visit(stage: Stage) -> None:
        key = None if stage.by_content else stage.key(store)
        if key is None or not store.has(stage.name, key):
            left[stage.name, stage.what] = stage
            for parent in stage.parents.values():
                visit(parent)

    for stage in (line.tokens, line.align, *evaluation_stages(run, line)):
        visit(stage)
    return list(left.values())


def test_settings_that_take_no_time_are_worked_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Run] = []
    of = Line.of
    monkeypatch.setattr(tally.Line, "of", lambda run: calls.append(run) or of(run))
    rates = [compose([f"train.learning_rate={rate}e-5", f"method.beta=0.{rate}"])
             for rate in range(1, 10)]  # fmt: skip
    found = estimate(rates, root=tmp_path, machine=MACHINE)
    assert len(calls) == 1 and names(found.stages)["align", ""] == 9
