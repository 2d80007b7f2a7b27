"""Estimates from hand-made records: which record tells, what is shared, what is not known."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.quick import quick
from tests.plan.checkpoint import write_checkpoint
from tiebreak.compose import Run, compose
from tiebreak.errors import UserError
from tiebreak.plan.estimate import (
    WORKER_SECONDS,
    Cost,
    CostEstimate,
    NeededStage,
    RunCost,
    estimate,
)
from tiebreak.plan.report import compare, lines, refuse_without_room, warnings
from tiebreak.plan.sizes import start_shape
from tiebreak.plan.speeds import CPU_FLOPS, CPU_GENERATE, Machine, TimeFrom
from tiebreak.stages.stage import Stage
from tiebreak.store import Store
from tiebreak.track.record_format import FORMAT, evaluation_folder

HOST = {"system": "Linux", "machine": "x86_64", "cpus": 2, "memory_gib": 8.0, "devices": []}
MACHINE = Machine(HOST, memory=8 * 2**30, free=2**40)
STARTED, ENDED = "2026-01-31T12:00:00Z", "2026-01-31T12:10:00Z"
STEPS = 75  # 1200 rows, 16 a step
ROW, SINGLE = 19 + 2 * 27 - 1, 19 + 27 - 1  # positions, at the world's mean lengths


def run_of(*overrides: str, seed: int = 1, scenario: str = "align-from-base") -> Run:
    return quick(f"scenario={scenario}", f"seed={seed}", *overrides)


def add_record(
    root: Path, run: Run, seconds: float = 0.5, host: Any = None, built: Any = (), **more: Any
) -> Path:
    """A finished run whose optimiser steps took `seconds` each."""
    folder = root / "runs" / run.run_id
    folder.mkdir(parents=True)
    manifest = {
        "format": FORMAT, "run_id": run.run_id, "group_id": run.group_id, "names": run.names,
        "host": host or HOST, "times": {"started": STARTED, "finished": ENDED},
        "stages": [{"stage": s, "key": k, "reused": False} for s, k in built], **more,
    }  # fmt: skip
    steps = [{"step": i + 1, "seconds": seconds, "memory/peak": 700.0} for i in range(STEPS)]
    files = {
        "config.yaml": yaml.safe_dump(run.resolved),
        "manifest.json": json.dumps(manifest),
        "status.json": json.dumps({"format": FORMAT, "status": "finished"}),
        "throughput.jsonl": "".join(json.dumps(row) + "\n" for row in steps),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    measured = evaluation_folder(folder, run.evaluation_id)
    measured.mkdir(parents=True)
    result = {"format": FORMAT, "evaluators": dict(run.evaluators)}
    (measured / "result.json").write_text(json.dumps(result))
    return folder


def guess(root: Path, *runs: Run, workers: int = 1, machine: Machine = MACHINE) -> CostEstimate:
    return estimate(runs, workers, root=root, machine=machine)


def align_cost(root: Path, run: Run, machine: Machine = MACHINE) -> Cost:
    (found,) = [s.cost for s in guess(root, run, machine=machine).stages if s.stage.name == "align"]
    return found


def publish(root: Path, stage: Stage, began: float | None = None, ended: float = 0) -> str:
    """An empty artefact, with the times of its build."""
    store = Store(root / "artefacts")
    store.build(stage.name, stage.key, stage.inputs, lambda work: (work / "file").touch())
    if began is not None:
        os.utime(store.root / stage.name / f".{stage.key}.lock", (began, began))
        os.utime(store.path(stage.name, stage.key) / "artefact.json", (ended, ended))
    return stage.key


def stage_of(run: Run, name: str, what: str = "") -> Stage:
    (found,) = [s for s in run.plan.stages() if (s.name, s.what) == (name, what)]
    return found


def costs_by_kind(estimate: CostEstimate) -> dict[tuple[str, str], Cost]:
    return {(s.stage.name, s.stage.what): s.cost for s in estimate.stages}


def test_the_same_method_takes_its_own_time(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo", seed=7), seconds=0.5)
    add_record(tmp_path, run_of("method=kto", seed=7), seconds=2.0)
    cost = align_cost(tmp_path, run_of("method=dpo"))
    assert (cost.seconds, cost.time_from) == (pytest.approx(STEPS * 0.5), TimeFrom.SAME)
    twice = align_cost(tmp_path, run_of("method=dpo", "train.epochs=2"))
    assert (twice.seconds, twice.time_from) == (pytest.approx(2 * STEPS * 0.5), TimeFrom.SAME)


def test_another_method_is_scaled_by_what_it_needs(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo"), seconds=0.5)
    kto, tdpo = (align_cost(tmp_path, run_of(f"method={m}")) for m in ("kto", "tdpo1"))
    assert kto.seconds == pytest.approx(STEPS * 0.5 * (6 * ROW + 2 * SINGLE) / (6 * ROW))
    assert tdpo.seconds == pytest.approx(STEPS * 0.5 * 8 / 6)
    assert kto.time_from is tdpo.time_from is TimeFrom.SCALED


def test_another_model_goes_at_the_measured_rate(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo"), seconds=0.5)
    wide = run_of("method=dpo", "model.pretraining.hidden_size=288")
    small, large = (start_shape(r) for r in (run_of(), wide))
    assert small is not None and large is not None
    cost = align_cost(tmp_path, wide)
    assert cost.seconds == pytest.approx(STEPS * 0.5 * large.parameters / small.parameters)
    assert cost.time_from is TimeFrom.RATE
    lora = align_cost(tmp_path, run_of("method=dpo", "train.adapter=lora"))
    assert (lora.seconds, lora.time_from) == (pytest.approx(STEPS * 0.5 * 4 / 6), TimeFrom.RATE)


@pytest.mark.parametrize("other", [{"cpus": 64}, {"devices": ["H100"]}, {"memory_gib": 4.0}])
def test_records_of_another_kind_of_machine_tell_nothing(tmp_path: Path, other: dict) -> None:
    add_record(tmp_path, run_of("method=dpo"), host={**HOST, **other})
    shape = start_shape(run_of())
    assert shape is not None
    here = dataclasses.replace(MACHINE, devices=())
    cost = align_cost(tmp_path, run_of("method=dpo", seed=2), here)
    assert cost.time_from is TimeFrom.DEFAULT
    assert cost.seconds == pytest.approx(1200 * 6 * ROW * shape.parameters / CPU_FLOPS)
    unasked = align_cost(tmp_path, run_of("method=dpo", seed=2))  # takes the records' devices
    assert unasked.time_from is (TimeFrom.SAME if "devices" in other else TimeFrom.DEFAULT)
    machine = guess(tmp_path, run_of("method=dpo", seed=2)).machine
    assert machine.devices == (("H100",) if "devices" in other else None)


def test_a_record_that_moved_or_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    before = {"host": {**HOST, "cpus": 64}}
    add_record(tmp_path, run_of("method=dpo"), earlier=[before])
    assert guess(tmp_path, run_of(seed=2)).unread == 0
    folder = add_record(tmp_path, run_of("method=kto"))
    (folder / "config.yaml").write_text(yaml.safe_dump({**run_of().resolved, "old": 1}))
    found = guess(tmp_path, run_of(seed=2))
    assert found.unread == 1 and any("records of no use" in text for text in warnings(found))
    assert {s.cost.time_from for s in found.stages} == {TimeFrom.DEFAULT, TimeFrom.NOTHING}


def test_other_stages_are_timed_from_lock_to_artefact(tmp_path: Path) -> None:
    run = run_of("method=dpo")
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    key = publish(tmp_path, stage_of(run, "generations", "start model"), noon + 100, noon + 104)
    late = publish(tmp_path, stage_of(run, "pretrain"), noon + 100, noon + 9999)
    add_record(tmp_path, run, built=[("generations", key), ("pretrain", late)])
    costs = costs_by_kind(guess(tmp_path, run_of("method=kto")))
    policy, evaluation = costs["generations", "policy"], run.evaluation
    assert ("generations", "start model") not in costs, "it is in the store"
    written = 19 + evaluation.max_new_tokens  # of a policy, they are also scored twice
    assert policy.seconds == pytest.approx(4 * (written + 2 * CPU_GENERATE * SINGLE) / written)
    assert policy.time_from is TimeFrom.SCALED
    costs = costs_by_kind(guess(tmp_path, run_of("method=kto", "model.pretraining.seed=5")))
    assert costs["generations", "start model"].seconds == pytest.approx(4)
    assert costs["generations", "start model"].time_from is TimeFrom.SAME
    assert costs["pretrain", ""].time_from is TimeFrom.RATE, "its times are not within the run"


def test_a_record_tells_its_times_when_its_model_and_data_are_gone(tmp_path: Path) -> None:
    model, rows = tmp_path / "model", tmp_path / "rows.jsonl"
    write_checkpoint(model)
    rows.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n' * 1200)
    given = (f"model={model}", f"data={rows}", "data.test_share=0.5", "train=lora")
    run, other = (run_of(*given, "train.max_steps=75", seed=seed) for seed in (1, 2))
    add_record(tmp_path, run, seconds=0.5)
    assert align_cost(tmp_path, other).time_from is TimeFrom.SAME
    model.rename(tmp_path / "moved")
    gone = align_cost(tmp_path, other)
    assert (gone.time_from, gone.memory) == (TimeFrom.SAME, None)
    rows.unlink()
    found = guess(tmp_path, other)
    assert found.unread == 0 and costs_by_kind(found)["align", ""].seconds is None


def test_shared_stages_are_counted_once(tmp_path: Path) -> None:
    runs = [
        run_of(f"method={method}", seed=seed, scenario=scenario)
        for scenario in ("align-from-base", "sft-then-align")
        for method in ("dpo", "kto")
        for seed in (1, 2)
    ]
    found = guess(tmp_path, *runs)
    names = [f"{s.stage.name} {s.stage.what}".strip() for s in found.stages]
    assert {name: names.count(name) for name in names} == {
        "tokens train rows": 1, "tokens test rows": 1, "tokens demonstrations": 1, "pretrain": 1,
        "sft": 2, "reference responses": 3, "reference mismatched responses": 3, "align": 8,
        "generations start model": 3, "gold start model": 3, "pairs start model": 3,
        "generations policy": 8, "gold policy": 8, "pairs policy": 8,
    }  # fmt: skip
    assert len(found.runs) == 8
    alone = [sum(stage.cost.seconds or 0 for stage in run.stages) for run in found.runs]
    assert sum(alone) > (found.work_seconds() or 0) > max(alone)


def test_it_agrees_with_the_store_on_every_stage(tmp_path: Path) -> None:
    run, other = (run_of(seed=seed, scenario="sft-then-align") for seed in (3, 4))
    for stage in run.plan.stages():
        if stage.name not in ("tokens", "pairs"):
            publish(tmp_path, stage)
    left = {*costs_by_kind(guess(tmp_path, run))}
    assert left == {
        ("tokens", "train rows"), ("tokens", "test rows"), ("pairs", "start model"),
        ("pairs", "policy"),
    }  # fmt: skip
    more = {*costs_by_kind(guess(tmp_path, other))}
    assert {("sft", ""), ("align", ""), ("generations", "policy")} <= more
    assert ("pretrain", "") not in more


def test_an_evaluator_added_to_a_finished_study_is_all_that_is_left(tmp_path: Path) -> None:
    run = run_of("evaluation.evaluators=[generations,gold]")
    for stage in run.plan.stages():
        publish(tmp_path, stage)
    add_record(tmp_path, run)
    assert guess(tmp_path, run).finished == 1
    more = guess(tmp_path, run_of())
    assert {*costs_by_kind(more)} == {("pairs", "start model"), ("pairs", "policy")}
    assert (more.finished, len(more.runs)) == (0, 1)


def test_seeds_share_all_that_the_seed_does_not_change(tmp_path: Path) -> None:
    publish(tmp_path, stage_of(run_of("method=dpo"), "align"))
    runs = [run_of(f"method={m}", seed=seed) for m in ("dpo", "cpo") for seed in range(1, 51)]
    found = guess(tmp_path, *runs)
    numbers = Counter((s.stage.name, s.stage.what) for s in found.stages)
    assert numbers == {
        ("tokens", "train rows"): 1, ("tokens", "test rows"): 1, ("pretrain", ""): 1,
        ("reference", "responses"): 1, ("align", ""): 99, ("generations", "start model"): 1,
        ("gold", "start model"): 1, ("pairs", "start model"): 1, ("generations", "policy"): 100,
        ("gold", "policy"): 100, ("pairs", "policy"): 100,
    }  # fmt: skip


def made(seconds: float | None, number: int, memory: int = 0, transient: int = 0) -> NeededStage:
    cost = Cost(seconds, memory, 10, transient, TimeFrom.SAME)
    return NeededStage(Stage(f"stage{number}", {}, lambda *given: None), cost)


def test_the_clock_runs_workers_in_order_and_waits_for_shared_stages() -> None:
    shared, a, b, c = made(100, 0), made(10, 1), made(20, 2), made(None, 3)
    runs = tuple(RunCost(run_of(), (shared, one), record=5) for one in (a, b, c))
    found = CostEstimate((shared, a, b, c), runs, 0, 2, MACHINE)
    assert found.total_seconds(1) == WORKER_SECONDS + 130
    assert found.total_seconds() == WORKER_SECONDS + 120
    assert found.work_seconds() is None and found.disk == 55
    alone = dataclasses.replace(found, workers=1)
    assert alone.money(36.0) == pytest.approx((WORKER_SECONDS + 130) / 100)


def test_what_does_not_fit_is_said() -> None:
    stages = (made(1, 0, 6 * 2**30, 300), made(1, 1, 2**30, 200), made(1, 2, 2**30, 100))
    runs = tuple(RunCost(run_of(), (one,), record=0) for one in stages)
    small = dataclasses.replace(MACHINE, free=500)
    one, two = (CostEstimate(stages, runs, 0, workers, small) for workers in (1, 2))
    assert list(warnings(one)) == []
    refuse_without_room(one)
    memory, disk = warnings(two)
    assert memory.startswith("memory: stage0 takes 6 GiB, 2 at once, of 8 GiB; use fewer workers")
    assert disk.startswith("disk: 30 B to keep and 500 B of checkpoints")
    assert "500 B are free; free some space" in disk
    with pytest.raises(UserError, match="no space left for these 3 runs: 30 B to keep"):
        refuse_without_room(two)


def test_a_hub_model_that_is_not_here_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    pinned = ["model=some/model", f"model.revision={'a' * 40}", "scenario=align-from-base"]
    found = guess(tmp_path, compose(pinned))
    (cost,) = [s.cost for s in found.stages if s.stage.name == "align"]
    assert (cost.seconds, cost.memory, cost.time_from) == (None, None, TimeFrom.UNKNOWN)
    text = "\n".join(lines(found, price_per_hour=2))
    assert "not known: the size of model=model (it is not in the cache)" in text
    assert "by the clock: at least" in text and "money: at least 0.0" in text


def test_people_read_a_table(tmp_path: Path) -> None:
    add_record(tmp_path, run_of("method=dpo"), seconds=2.0)
    text = list(lines(guess(tmp_path, run_of(), run_of(seed=2), workers=2)))
    assert text[0] == "1 runs to do, 1 finished"
    (row,) = [line for line in text if line.startswith("  align")]
    assert row.split()[:4] == ["align", "1", "2.5", "min"] and row.endswith(TimeFrom.SAME)
    assert list(lines(guess(tmp_path, run_of()))) == ["0 runs to do, 1 finished"]


def test_the_estimate_is_held_against_what_happened(tmp_path: Path) -> None:
    add_record(tmp_path, run_of(seed=9), seconds=1.0)
    runs = [run_of(seed=seed) for seed in (1, 2)]
    before = guess(tmp_path, *runs)
    assert list(compare(before, tmp_path)) == [], "nothing has been done yet"
    for run, seconds in zip(runs, (2.0, 3.0), strict=True):
        add_record(tmp_path, run, seconds=seconds, built=[("align", run.plan.align.key)])
    memory, align, clock = compare(before, tmp_path)
    assert (
        align == "align: estimated 75 s, was 3.12 min: -60% (2 measured, half of them within 58%)"
    )
    assert memory.startswith("memory of align: estimated ") and "was 700 MiB" in memory
    assert clock.startswith("by the clock: estimated ") and "was 10 min" in clock
