"""This machine, and how fast stages went on machines of its kind, from the records."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tiebreak import provenance
from tiebreak.config.schema import Adapter, Run
from tiebreak.plan.facts import Facts
from tiebreak.plan.work import Load

# Stated rates, for a machine without records.
CPU_FLOPS = 20e9  # per second and thread
GPU_FLOPS = 50e12  # per second
ROW_SECONDS = 1.3e-3  # to make or read, check and tokenise a row
CPU_GENERATE, GPU_GENERATE = 0.5, 0.05  # of that rate while answers are written token by token


class Source(StrEnum):
    """Where a time comes from, best first."""

    SAME = "records of the same"
    SCALED = "records of the same model, scaled"
    RATE = "FLOPs at a measured rate"
    DEFAULT = "a stated rate"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """Bytes of memory and of free disk; devices: names of accelerators, None when nobody asked."""

    host: Mapping[str, Any]
    memory: int
    free: int
    devices: tuple[str, ...] | None = None

    @classmethod
    def here(cls, home: Path) -> Machine:
        """Accelerators are asked for only where torch is loaded already; their memory is then
        what counts."""
        host = provenance.host()
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        existing = next(place for place in (home, *home.parents) if place.exists())
        free, torch = shutil.disk_usage(existing).free, sys.modules.get("torch")
        if torch is None:
            return cls(host, memory, free)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = tuple(torch.cuda.get_device_name(i) for i in range(count))
        if names:
            memory = torch.cuda.get_device_properties(0).total_memory
        return cls(host, memory, free, names)

    def is_like(self, host: Mapping[str, Any]) -> bool:
        """Whether a record's `host` names this kind of machine."""
        same = all(host.get(k) == v for k, v in self.host.items() if k != "devices")
        return same and self.devices in (None, tuple(host.get("devices", ())))

    def threads(self, run: Run, stage: str) -> int:
        """What a stated or measured rate is multiplied by; a device counts as one."""
        each, num = run.train.execution.num_threads, processes(run, stage)
        if self.devices:
            return num
        return each * num if each else int(self.host["cpus"])


def processes(run: Run, stage: str) -> int:
    """How many do a stage together."""
    return run.train.execution.num_processes if stage == "align" else 1


@dataclass(frozen=True)
class Place:
    """What a stage's speed depends on: `like` names the same work, `near` the same model."""

    like: Hashable
    near: Hashable

    @classmethod
    def of(cls, name: str, what: str, facts: Facts) -> Place:
        run = facts.run
        data = (run.data.name, run.data.max_length, run.data.max_prompt_length)
        if name == "tokens":
            return cls((name, what, data), (name, run.data.kind))
        adapter = run.train.lora if run.train.adapter is Adapter.LORA else None
        model = (facts.shape or run.model, adapter, run.train.precision,
                 run.train.execution.num_threads, processes(run, name))  # fmt: skip
        method = (run.method_name, run.method.needs) if name == "align" else None
        return cls((name, what, data, method, model), (name, model))


@dataclass(frozen=True)
class Pace:
    """One stage of one record: work as in `Load`, FLOPs where the model's size is known."""

    place: Place
    kind: str
    work: float
    flops: float | None
    threads: int
    seconds: float


class Speeds:
    """Medians of the paces that were measured. unread: records that could not be used."""

    def __init__(self, paces: Iterable[Pace] = (), unread: int = 0) -> None:
        found: defaultdict[Hashable, list[float]] = defaultdict(list)
        for one in paces:
            found[Source.SAME, one.place.like].append(one.work / one.seconds)
            found[Source.SCALED, one.place.near].append(one.work / one.seconds)
            if one.flops is not None:
                rate = one.flops / one.seconds / one.threads
                found[Source.RATE, one.kind].append(rate)
                found[Source.RATE, None].append(rate)
        self._rates = {at: statistics.median(rates) for at, rates in found.items()}
        self.unread = unread

    def seconds(
        self, place: Place, load: Load, flops: float | None, threads: int, on_device: bool
    ) -> tuple[float | None, Source]:
        """The time of a stage, from the nearest that was measured."""
        if load.work is None:
            return None, Source.UNKNOWN
        for source, at in ((Source.SAME, place.like), (Source.SCALED, place.near)):
            if (source, at) in self._rates:
                return load.work / self._rates[source, at], source
        if load.kind == "rows":
            return load.work * ROW_SECONDS, Source.DEFAULT
        if flops is None:
            return None, Source.UNKNOWN
        if (Source.RATE, load.kind) in self._rates:
            return flops / self._rates[Source.RATE, load.kind] / threads, Source.RATE
        share = (GPU_GENERATE if on_device else CPU_GENERATE) if load.kind == "generate" else 1
        if (Source.RATE, None) in self._rates:
            return flops / self._rates[Source.RATE, None] / threads / share, Source.RATE
        return flops / ((GPU_FLOPS if on_device else CPU_FLOPS) * threads) / share, Source.DEFAULT
