"""This machine, and how fast stages went on machines of its kind, from the records.

The time of training is the mean of `seconds` in throughput.jsonl, times its steps. The time of any
stage is that from the moment a build took its lock to the last file of its artefact, where both lie
within the run (a lock that somebody waited for, and a store that was copied, say nothing). A stage
that was killed and resumed counts from its resumption, except align. No file of a record's model or
data has to be there.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from tiebreak import provenance
from tiebreak.config.compose import read_config
from tiebreak.config.schema import Adapter, RunConfig
from tiebreak.errors import UserError
from tiebreak.plan.gpus import Gpu
from tiebreak.plan.memory import Layout, Place
from tiebreak.plan.sizes import NotKnown, RunSize, SizeCache, side_of
from tiebreak.plan.stage_costs import StageCost, stage_cost
from tiebreak.store import ARTEFACT, Store, read_artefact
from tiebreak.track.record import read_manifest
from tiebreak.track.record_format import CONFIG, THROUGHPUT

# Stated rates, for a machine without records.
CPU_FLOPS = 20e9  # per second and thread
GPU_FLOPS = 50e12  # per second
ROW_SECONDS = 1.3e-3  # to make or read, check and tokenise a row
CPU_GENERATE, GPU_GENERATE = 0.5, 0.05  # of that rate while answers are written token by token

NEWEST = 1000  # records looked at
EACH, MOST = 3, 60  # records read of one kind, and in all
TAIL = 2**16  # bytes of a log that are read


class TimeFrom(StrEnum):
    """Where a time comes from, best first."""

    NOTHING = "nothing to compute"
    SAME = "records of the same"
    SCALED = "records of the same model, scaled"
    RATE = "FLOPs at a measured rate"
    DEFAULT = "a stated rate"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """Bytes of memory and of free disk; devices: names of accelerators, None: not known. gpu: the
    kind that a plan is made for, wherever it is made, with every run laid out as `layout`."""

    host: Mapping[str, Any]
    memory: int
    free: int
    devices: tuple[str, ...] | None = None
    gpu: Gpu | None = None
    layout: Layout = Layout()

    @classmethod
    def here(cls, home: Path) -> Machine:
        """This machine, without a look at its accelerators: a plan imports no torch."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        existing = next(place for place in (home, *home.parents) if place.exists())
        return cls(provenance.host(), memory, shutil.disk_usage(existing).free)

    def is_like(self, host: Mapping[str, Any]) -> bool:
        """Whether a record's `host` names this kind of machine."""
        if self.gpu is not None:
            devices = host.get("devices") or ("none",)
            return all(self.gpu.is_called(name) for name in devices)
        same = all(host.get(k) == v for k, v in self.host.items() if k != "devices")
        return same and self.devices in (None, tuple(host.get("devices", ())))

    @functools.cached_property
    def place(self) -> Place:
        return Place(self.layout, bool(self.gpu or self.devices))

    def processes(self, run: RunConfig, stage: str) -> int:
        """How many processes do a stage together; on planned GPUs all do every stage."""
        return self.layout.processes if self.gpu else processes(run, stage)

    def threads(self, run: RunConfig, num: int) -> int:
        """What a stated or measured rate is multiplied by where `num` processes do a stage; a
        device counts as one."""
        each = run.train.execution.num_threads
        if self.place.on_gpu:
            return num
        return each * num if each else int(self.host["cpus"])

    @property
    def flops(self) -> float:
        """Stated FLOPs per second of a thread, or of a device."""
        if self.gpu is not None:
            return self.gpu.flops
        return GPU_FLOPS if self.devices else CPU_FLOPS

    @property
    def generate_share(self) -> float:
        """Part of that rate that is left while answers are written token by token."""
        return GPU_GENERATE if self.place.on_gpu else CPU_GENERATE

    def work(self, cost: StageCost) -> float | None:
        """Work of a stage in the unit of its kind; forward passes beside answers take less time."""
        if cost.work is None or not cost.scored:
            return cost.work
        return cost.work + self.generate_share * cost.scored


def processes(run: RunConfig, stage: str) -> int:
    """How many processes do a stage together, here or in a record."""
    return run.train.execution.num_processes if stage == "align" else 1


@dataclass(frozen=True)
class SpeedKey:
    """What a stage's speed depends on: `like` names the same work, `near` the same model."""

    like: Hashable
    near: Hashable

    @classmethod
    def of(cls, name: str, what: str, size: RunSize, num: int) -> SpeedKey:
        """Of a stage that `num` processes do."""
        run = size.run
        data = (run.data.name, run.data.max_length, run.data.max_prompt_length)
        if name == "tokens":
            return cls((name, what, data), (name, run.data.kind))
        adapted = run.train.adapter is Adapter.LORA and (name == "align" or what == "policy")
        adapter = run.train.lora if adapted else None
        model = (size.shape or run.model, run.train.precision,
                 run.train.execution.num_threads, num)  # fmt: skip
        method = (run.method_name, run.method.needs) if name == "align" else None
        near = (name, adapter if name == "align" else None, model)
        return cls((name, what, data, method, adapter, model), near)


@dataclass(frozen=True)
class MeasuredSpeed:
    """One stage of one record. work: as `Machine.work`; flops: where the model's size is known."""

    key: SpeedKey
    kind: str
    work: float
    flops: float | None
    threads: int
    seconds: float


class Speeds:
    """Medians of the speeds that were measured. unread: records that could not be used."""

    def __init__(self, measured: Iterable[MeasuredSpeed] = (), unread: int = 0) -> None:
        rates: defaultdict[Hashable, list[float]] = defaultdict(list)
        for speed in measured:
            rates[TimeFrom.SAME, speed.key.like].append(speed.work / speed.seconds)
            rates[TimeFrom.SCALED, speed.key.near].append(speed.work / speed.seconds)
            if speed.flops is not None:
                rate = speed.flops / speed.seconds / speed.threads
                rates[TimeFrom.RATE, speed.kind].append(rate)
                rates[TimeFrom.RATE, None].append(rate)
        self._rates = {at: statistics.median(values) for at, values in rates.items()}
        self.unread = unread

    def seconds(
        self, name: str, what: str, cost: StageCost, size: RunSize, machine: Machine
    ) -> tuple[float | None, TimeFrom]:
        """The time of a stage, from the nearest that was measured."""
        if cost.kind == "none":
            return 0.0, TimeFrom.NOTHING
        work, rates = machine.work(cost), self._rates
        if work is None:
            return None, TimeFrom.UNKNOWN
        num = machine.processes(size.run, name)
        key = SpeedKey.of(name, what, size, num)
        for source, at in ((TimeFrom.SAME, key.like), (TimeFrom.SCALED, key.near)):
            if (source, at) in rates:
                return work / rates[source, at], source
        if cost.kind == "rows":
            return work * ROW_SECONDS, TimeFrom.DEFAULT
        if size.shape is None:
            return None, TimeFrom.UNKNOWN
        flops = work * size.shape.parameters / machine.threads(size.run, num)
        if (TimeFrom.RATE, cost.kind) in rates:
            return flops / rates[TimeFrom.RATE, cost.kind], TimeFrom.RATE
        flops /= machine.generate_share if cost.kind == "generate" else 1
        if (TimeFrom.RATE, None) in rates:
            return flops / rates[TimeFrom.RATE, None], TimeFrom.RATE
        waits = cost.sent / machine.gpu.sends if machine.gpu else 0.0  # less hides behind the work
        return max(flops / machine.flops, waits), TimeFrom.DEFAULT


def read_speeds(runs: Path, store: Store, machine: Machine) -> tuple[Speeds, Machine]:
    """Speeds of the newest records of this kind of machine, a few of each kind; and the machine,
    with the accelerators that these records name where it is not known which it has."""
    measured, unread, cache = [], 0, SizeCache()
    for manifest in _chosen(runs, machine):
        machine = replace(machine, devices=tuple(manifest["host"]["devices"]))
        try:
            measured += _measured(runs / manifest["run_id"], manifest, store, machine, cache)
        except UserError:  # of another version, or an artefact is damaged
            unread += 1
    return Speeds(measured, unread), machine


def _chosen(runs: Path, machine: Machine) -> Iterator[dict[str, Any]]:
    """Manifests of the records to read; all name the accelerators that the newest one names."""
    counts: Counter[tuple[str, ...]] = Counter()
    taken = 0
    for manifest in _finished(runs):
        if not machine.is_like(manifest["host"]) or _moved(manifest) or taken == MOST:
            continue
        machine = replace(machine, devices=tuple(manifest["host"]["devices"]))
        kinds = set(_kinds(manifest))
        if any(counts[kind] < EACH for kind in kinds):
            taken += 1
            counts.update(kinds)
            yield manifest


def _kinds(manifest: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What a record can tell of: training by its method, and each other stage it built."""
    names = manifest["names"]
    yield "align", names["model"], names["data"], names["method"]
    for entry in manifest["stages"]:
        if not entry["reused"]:
            yield entry["stage"], names["model"], names["data"]


def _finished(runs: Path) -> Iterator[dict[str, Any]]:
    """Manifests of finished runs, newest first."""
    folders = [p for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
    folders.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in folders[:NEWEST]:
        try:
            manifest = read_manifest(folder)
        except (UserError, FileNotFoundError):  # `tiebreak runs` names it
            continue
        if manifest["times"]["finished"]:
            yield manifest


def _moved(manifest: Mapping[str, Any]) -> bool:
    """Whether the run went on on another kind of machine."""
    return any(before["host"] != manifest["host"] for before in manifest.get("earlier", ()))


def _measured(
    folder: Path, manifest: Mapping[str, Any], store: Store, machine: Machine, cache: SizeCache
) -> Iterator[MeasuredSpeed]:
    """The speed of each stage that the run of a record built itself."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster
    run = read_config(yaml.load((folder / CONFIG).read_text(), loader))
    stages = list(_artefacts(manifest, store))
    tokens = {side_of(what): store.path(name, key)
              for name, what, key, _ in stages if name == "tokens"}  # fmt: skip
    size = cache.size(run, lambda: tokens)
    times = {(name, what): build_seconds(store, name, key, manifest["times"])
             for name, what, key, reused in stages if not reused}  # fmt: skip
    trained = _training_seconds(folder, size)
    times["align", ""] = max(trained, times.get(("align", "")) or 0.0) if trained else None
    for (name, what), seconds in times.items():
        cost = stage_cost(name, what, size)
        if seconds and (work := machine.work(cost)):
            known = size.shape is not None and cost.kind != "rows"
            flops = work * size.model().parameters if known else None
            num = processes(run, name)
            key, threads = SpeedKey.of(name, what, size, num), machine.threads(run, num)
            yield MeasuredSpeed(key, cost.kind, work, flops, threads, seconds)


def _artefacts(manifest: Mapping[str, Any], store: Store) -> Iterator[tuple[str, str, str, bool]]:
    """(stage, what, key, reused) of the artefacts that a record's run built, and of its rows, as
    far as they are still there. They say themselves what they are: the keys of the run would ask
    for its model again."""
    for entry in manifest["stages"]:
        name, key, reused = entry["stage"], entry["key"], entry["reused"]
        path = store.path(name, key)
        if path.is_dir() and (name == "tokens" or not reused):
            yield name, read_artefact(path)["inputs"].get("what", ""), key, reused


def build_seconds(store: Store, name: str, key: str, times: Mapping[str, str]) -> float | None:
    """How long the run with these times took to build an artefact; None when nobody can tell."""
    try:
        began = (store.root / name / f".{key}.lock").stat().st_mtime
        ended = (store.root / name / key / ARTEFACT).stat().st_mtime
    except FileNotFoundError:
        return None
    first, last = (datetime.fromisoformat(times[k]).timestamp() for k in ("started", "finished"))
    inside = first - 1 <= began < ended <= last + 1  # the record's times are whole seconds
    return ended - began if inside else None


def _training_seconds(folder: Path, size: RunSize) -> float | None:
    """Seconds of all optimiser steps of align; None when this run did not train."""
    rows = throughput(folder)
    if not rows:
        return None
    try:
        steps = size.align_steps()[0]
    except NotKnown:
        return None
    return steps * sum(row["seconds"] for row in rows) / len(rows)


def throughput(folder: Path) -> list[dict[str, float]]:
    """The last rows of throughput.jsonl, the whole of a short one."""
    try:
        with (folder / THROUGHPUT).open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[1 if size > TAIL else 0 :]]
