"""Estimates from hand-made records: which record tells, what is shared, what is not known."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiebreak.config.identity import RESULT_VERSION, group_id, run_id

from tests.config.quick import quick
from tiebreak.config.schema import Run
from tiebreak.plan import tally
from tiebreak.plan.estimate import (
    WORKER_SECONDS,
    Cost,
    Estimate,
    RunCost,
    StageCost,
    compare,
    estimate,
    lines,
)
from tiebreak.plan.machine import CPU_FLOPS, Machine, Source
from tiebreak.plan.past import graph
from tiebreak.plan.sizes import start_shape
from tiebreak.stages.align import Line
from tiebreak.stages.stage import Stage
from tiebreak.store import Store

HOST = {"system": "Linux", "machine": "x86_64", "cpus": 2, "memory_gib": 8.0, "devices": []}
MACHINE = Machine(HOST, memory=8 * 2**30, free=2**40)
STARTED, ENDED = "2026-01-31T12:00:00Z", "2026-01-31T12:10:00Z"
STEPS = 75  # 1200 rows, 16 a step
ROW, SINGLE = 19 + 2 * 27 - 1, 19 + 27 - 1  # positions, at the world's mean lengths


def run_of(*overrides: str, seed: int = 1, scenario: str = "align-from-base") -> Run:
    run = quick(f"scenario={scenario}", *overrides)
    return dataclasses.replace(run, seed=seed, resolved={**run.resolved, "seed": seed})


def add_record(
    root: Path, run: Run, seconds: float = 0.5, host: Any = None, built: Any = (), **more: Any
) -> Path:
    """A finished run whose optimiser steps took `seconds` each."""
    folder = root / "runs" / run_id(run)
    folder.mkdir(parents=True)
    manifest = {
        "format": 2, "run_id": run_id(run), "group_id": group_id(run), "names": run.names,
        "host": host or HOST, "times": {"started": STARTED, "finished": ENDED},
        "stages": [{"stage": s, "key": k, "reused": False} for s, k in built], **more,
    }  # fmt: skip
    steps = [{"step": i + 1, "seconds": seconds, "memory/peak": 700.0} for i in range(STEPS)]
    files = {
        "config.yaml": yaml.safe_dump(run.resolved),
        "manifest.json": json.dumps(manifest),
        "status.json": json.dumps({"format": 2, "status": "finished"}),
        "result.json": "{}",
        "throughput.jsonl": "".join(json.dumps(row) + "\n" for row in steps),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def guess(root: Path, *runs: Run, workers: int = 1, machine: Machine = MACHINE) -> Estimate:
    return estimate(runs, workers, root=root, machine=machine)


def align_cost(root: Path, run: Run, machine: Machine = MACHINE) -> Cost:
    (found,) = [s.cost for s in guess(root, run, machine=machine).stages if s.name == "align"]
    return found


def publish(root: Path, stage: Stage, began: float | None = None, ended: float = 0) -> str:
    """An empty artefact, with the times of its build."""
    store, key = Store(root / "artefacts"), stage.key(Store(root / "artefacts"))
    assert key is not None
    inputs = {**stage.inputs({}), "result_version": RESULT_VERSION}
    store.build(stage.name, key, inputs, lambda work: (work / "file").touch())
    if began is not None:
        os.utime(store.root / stage.name / f".{key}.lock", (began, began))
        os.utime(store.path(stage.name, key) / "artefact.json", (ended, ended))
    return key


def stage_of(run: Run, name: str, what: str = "") -> Stage:
    (found,) = [s for s in graph(run, Line.of(run)) if (s.name, s.what) == (name, what)]
    return found


def test_the_same_method_takes_its_own_time(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo", seed=7), seconds=0.5)
    add_record(tmp_path, run_of("method=kto", seed=7), seconds=2.0)
    cost = align_cost(tmp_path, run_of("method=dpo"))
    assert (cost.seconds, cost.source) == (pytest.approx(STEPS * 0.5), Source.SAME)
    twice = align_cost(tmp_path, run_of("method=dpo", "train.epochs=2"))
    assert (twice.seconds, twice.source) == (pytest.approx(2 * STEPS * 0.5), Source.SAME)


def test_another_method_is_scaled_by_what_it_needs(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo"), seconds=0.5)
    kto, tdpo = (align_cost(tmp_path, run_of(f"method={m}")) for m in ("kto", "tdpo1"))
    assert kto.seconds == pytest.approx(STEPS * 0.5 * (6 * ROW + 2 * SINGLE) / (6 * ROW))
    assert tdpo.seconds == pytest.approx(STEPS * 0.5 * 8 / 6)
    assert kto.source is tdpo.source is Source.SCALED


def test_another_model_goes_at_the_measured_rate(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo"), seconds=0.5)
    wide = run_of("method=dpo", "model.pretraining.hidden_size=288")
    small, large = (start_shape(r) for r in (run_of(), wide))
    assert small is not None and large is not None
    cost = align_cost(tmp_path, wide)
    assert cost.seconds == pytest.approx(STEPS * 0.5 * large.parameters / small.parameters)
    assert cost.source is Source.RATE
    lora = align_cost(tmp_path, run_of("method=dpo", "train.adapter=lora"))
    assert (lora.seconds, lora.source) == (pytest.approx(STEPS * 0.5 * 4 / 6), Source.RATE)


@pytest.mark.parametrize("other", [{"cpus": 64}, {"devices": ["H100"]}, {"memory_gib": 4.0}])
def test_records_of_another_kind_of_machine_tell_nothing(tmp_path: Path, other: dict) -> None:
    add_record(tmp_path, run_of("method=dpo"), host={**HOST, **other})
    shape = start_shape(run_of())
    assert shape is not None
    here = dataclasses.replace(MACHINE, devices=())
    cost = align_cost(tmp_path, run_of("method=dpo", seed=2), here)
    assert cost.source is Source.DEFAULT
    assert cost.seconds == pytest.approx(1200 * 6 * ROW * shape.parameters / CPU_FLOPS)
    unasked = align_cost(tmp_path, run_of("method=dpo", seed=2))  # takes the records' devices
    assert unasked.source is (Source.SAME if "devices" in other else Source.DEFAULT)


def test_a_record_that_moved_or_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    before = {"host": {**HOST, "cpus": 64}}
    add_record(tmp_path, run_of("method=dpo"), earlier=[before])
    assert guess(tmp_path, run_of(seed=2)).unread == 0
    folder = add_record(tmp_path, run_of("method=kto"))
    (folder / "config.yaml").write_text(yaml.safe_dump({**run_of().resolved, "old": 1}))
    found = guess(tmp_path, run_of(seed=2))
    assert found.unread == 1 and any("records of no use" in text for text in found.warnings)
    assert {stage.cost.source for stage in found.stages} == {Source.DEFAULT}


def test_other_stages_are_timed_from_lock_to_artefact(tmp_path: Path) -> None:
    run = run_of("method=dpo")
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    stage = stage_of(run, "generate", "start model")
    key = publish(tmp_path, stage, noon + 100, noon + 104)
    late = publish(tmp_path, stage_of(run, "pretrain"), noon + 100, noon + 9999)
    add_record(tmp_path, run, built=[("generate", key), ("pretrain", late)])
    costs = {(s.name, s.what): s.cost for s in guess(tmp_path, run_of("method=kto")).stages}
    policy = costs["generate", "policy"]
    assert (policy.seconds, policy.source) == (pytest.approx(4.0), Source.SCALED)
    assert ("generate", "start model") not in costs, "it is in the store"
    other = run_of("method=kto", "model.pretraining.seed=5")
    costs = {(s.name, s.what): s.cost for s in guess(tmp_path, other).stages}
    assert costs["generate", "start model"].source is Source.SAME
    assert costs["pretrain", ""].source is Source.RATE, "its times are not within the run"


def test_shared_stages_are_counted_once(tmp_path: Path) -> None:
    runs = [
        run_of(f"method={method}", seed=seed, scenario=scenario)
        for scenario in ("align-from-base", "sft-then-align")
        for method in ("dpo", "kto")
        for seed in (1, 2)
    ]
    found = guess(tmp_path, *runs)
    names = [f"{s.name} {s.what}".strip() for s in found.stages]
    assert {name: names.count(name) for name in names} == {
        "tokens preferences": 1, "tokens demonstrations": 1, "pretrain": 1, "sft": 2,
        "reference responses": 3, "reference mismatched responses": 3, "align": 8,
        "generate start model": 3, "evaluate start model": 3, "generate policy": 8,
        "evaluate policy": 8,
    }  # fmt: skip
    assert len(found.runs) == 8 and [s.number for s in found.stages] == list(range(len(names)))
    alone = [run.cost.seconds or 0 for run in found.runs]
    assert sum(alone) > (found.work_seconds() or 0) > max(alone)


def test_it_agrees_with_the_store_on_every_stage(tmp_path: Path) -> None:
    run, other = (run_of(seed=seed, scenario="sft-then-align") for seed in (3, 4))
    for stage in graph(run, Line.of(run)):
        if not stage.by_content and stage.name not in ("tokens", "evaluate"):
            publish(tmp_path, stage)
    left = [(s.name, s.what) for s in guess(tmp_path, run).stages]
    assert ("align", "") not in left and ("generate", "policy") not in left
    assert ("sft", "") not in left and ("evaluate", "policy") in left
    more = [(s.name, s.what) for s in guess(tmp_path, other).stages]
    assert {("sft", ""), ("align", ""), ("generate", "policy")} <= {*more}
    assert ("pretrain", "") not in more


def test_runs_that_differ_by_seed_are_worked_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, stage_of(run_of("method=dpo"), "align"))
    calls: list[Run] = []
    of = Line.of
    monkeypatch.setattr(tally.Line, "of", lambda run: calls.append(run) or of(run))
    runs = [run_of(f"method={m}", seed=seed) for m in ("dpo", "cpo") for seed in range(1, 101)]
    found = guess(tmp_path, *runs)
    assert len(calls) == 2
    assert sum(stage.name == "align" for stage in found.stages) == 199


def made(seconds: float | None, number: int, memory: int = 0, transient: int = 0) -> StageCost:
    cost = Cost(seconds, memory, 10, transient, Source.SAME)
    return StageCost(number, f"stage{number}", "", cost)


def test_the_clock_runs_workers_in_order_and_waits_for_shared_stages() -> None:
    shared, a, b, c = made(100, 0), made(10, 1), made(20, 2), made(None, 3)
    runs = tuple(RunCost(run_of(), (shared, one), record=5) for one in (a, b, c))
    found = Estimate((shared, a, b, c), runs, 0, 2, MACHINE)
    assert found.total_seconds(1) == WORKER_SECONDS + 130
    assert found.total_seconds() == WORKER_SECONDS + 120
    assert found.work_seconds() is None and found.disk() == 55
    assert found.money(36.0, workers=1) == pytest.approx((WORKER_SECONDS + 130) / 100)
    assert runs[0].cost == Cost(110, 0, 25, 0, Source.SAME)


def test_what_does_not_fit_is_said() -> None:
    stages = (made(1, 0, 6 * 2**30, 300), made(1, 1, 2**30, 200), made(1, 2, 2**30, 100))
    runs = tuple(RunCost(run_of(), (one,), record=0) for one in stages)
    small = dataclasses.replace(MACHINE, free=500)
    one, two = (Estimate(stages, runs, 0, workers, small) for workers in (1, 2))
    assert one.warnings == ()
    memory, disk = two.warnings
    assert memory.startswith("memory: stage0 takes 6 GiB, 2 at once, of 8 GiB; use fewer workers")
    assert disk.startswith("disk: 30 B to keep and 500 B of checkpoints")
    assert "500 B are free; free some space" in disk


def test_a_hub_model_that_is_not_here_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = guess(tmp_path, run_of("model=some/model", f"model.revision={'a' * 40}"))
    (cost,) = [stage.cost for stage in found.stages if stage.name == "align"]
    assert (cost.seconds, cost.memory, cost.source) == (None, None, Source.UNKNOWN)
    text = "\n".join(lines(found, price_per_hour=2))
    assert "not known: the size of model=model (it is not in the cache)" in text
    assert "by the clock: at least" in text and "money: at least 0.0" in text


def test_people_read_a_table(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo"), seconds=2.0)
    text = list(lines(guess(tmp_path, run_of(), run_of(seed=2), workers=2)))
    assert text[0] == "1 runs to do, 1 finished"
    (row,) = [line for line in text if line.startswith("  align")]
    assert row.split()[:4] == ["align", "1", "2.5", "min"] and row.endswith(Source.SAME)
    assert list(lines(guess(tmp_path, run_of()))) == ["0 runs to do, 1 finished"]


def test_the_estimate_is_held_against_what_happened(tmp_path: Path) -> None:
    add_record(tmp_path, run_of(seed=9), seconds=1.0)
    runs = [run_of(seed=seed) for seed in (1, 2)]
    before = guess(tmp_path, *runs)
    assert list(compare(before, tmp_path)) == [], "nothing has been done yet"
    for run, seconds in zip(runs, (2.0, 3.0), strict=True):
        key = stage_of(run, "align").key(Store(tmp_path / "artefacts"))
        add_record(tmp_path, run, seconds=seconds, built=[("align", key)])
    memory, align, clock = compare(before, tmp_path)
    assert (
        align == "align: estimated 75 s, was 3.12 min: -60% (2 measured, half of them within 58%)"
    )
    assert memory.startswith("memory of align: estimated ") and "was 700 MiB" in memory
    assert clock.startswith("by the clock: estimated ") and "was 10 min" in clock


def test_it_asks_for_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from tiebreak.config.compose import compose\n"
        "from tiebreak.plan.estimate import estimate, lines\n"
        "list(lines(estimate([compose([])], root=Path('nowhere'))))\n"
        "assert not {'torch', 'transformers'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
