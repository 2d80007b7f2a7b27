"""What an estimate counts, held against the plan of every run."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tiebreak.compose import Run, compose
from tiebreak.plan.estimate import estimate
from tiebreak.plan.speeds import Machine
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
    ("evaluation.split=test", "evaluation.split=validation",
     "evaluation.evaluators=[generations,gold]"),
)  # fmt: skip


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Each axis but the seed varies what another stage depends on, or only the policy."""
    return [compose(overrides) for overrides in itertools.product(*AXES, ("seed=1", "seed=2"))]


def keys(stages: Iterable[Stage]) -> Counter[tuple[str, str]]:
    return Counter((stage.name, stage.key) for stage in stages)


def test_each_artefact_is_counted_once(runs: list[Run], tmp_path: Path) -> None:
    found = estimate(runs, root=tmp_path, machine=MACHINE)
    counted = keys(needed.stage for needed in found.stages)
    assert {*counted.values()} == {1}
    assert {*counted} == {*keys(stage for run in runs for stage in run.plan.stages())}
    for run, cost in zip(runs, found.runs, strict=True):
        assert keys(needed.stage for needed in cost.stages) == keys(run.plan.stages())
        assert {*cost.stages} <= {*found.stages}


def test_what_is_in_the_store_is_found(runs: list[Run], tmp_path: Path) -> None:
    store = Store(tmp_path / "artefacts")
    for run in runs[:: len(runs) // 20]:
        for stage in run.plan.stages():
            if stage.name != "gold":
                store.build(stage.name, stage.key, stage.inputs, lambda work: (work / "a").touch())
    found = estimate(runs, root=tmp_path, machine=MACHINE)
    for run, cost in zip(runs, found.runs, strict=True):
        assert keys(needed.stage for needed in cost.stages) == keys(run.plan.missing(store))


def test_costs_of_runs_in_one_estimate_are_those_of_each_alone(
    runs: list[Run], tmp_path: Path
) -> None:
    few = runs[:: len(runs) // 30]
    together = estimate(few, root=tmp_path, machine=MACHINE)
    for run, cost in zip(few, together.runs, strict=True):
        (alone,) = estimate([run], root=tmp_path, machine=MACHINE).runs
        assert [n.cost for n in cost.stages] == [n.cost for n in alone.stages]
        assert cost.record == alone.record
