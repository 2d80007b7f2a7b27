"""An estimate for people: a table, the sums, what to look out for, and how far it was off."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.identity import run_id
from tiebreak.errors import UserError
from tiebreak.home import home
from tiebreak.plan.machine import Source, processes
from tiebreak.plan.past import build_seconds, graph, throughput
from tiebreak.plan.tally import Cost, RunCost, StageCost, total
from tiebreak.stages.align import Line
from tiebreak.store import Store
from tiebreak.track.record import is_finished, read_manifest

if TYPE_CHECKING:
    from tiebreak.plan.estimate import Estimate

COMPARED = 200  # runs whose stages are looked at


def lines(estimate: Estimate, price_per_hour: float | None = None) -> Iterator[str]:
    """A line for each kind of stage, then the sums and the warnings."""
    yield f"{len(estimate.runs)} runs to do, {estimate.finished} finished"
    groups: defaultdict[str, list[Cost]] = defaultdict(list)
    for stage in estimate.stages:
        groups[_named(stage)].append(stage.cost)
    if groups:
        heads = "".join(f"{head:>10}" for head in ("each", "in all", "memory", "kept"))
        yield f"  {'stage':<32}{'build':>6}{heads}  time from"
        yield from (_row(name, costs) for name, costs in groups.items())
        yield from _sums(estimate, price_per_hour)
    yield from (f"warning: {text}" for text in estimate.warnings)


def _row(name: str, costs: Sequence[Cost]) -> str:
    seconds, disk = total([c.seconds for c in costs]), total([c.disk for c in costs])
    memory = max((c.memory for c in costs if c.memory is not None), default=None)
    each = None if seconds is None else seconds / len(costs)
    source = max((c.source for c in costs), key=list(Source).index)
    cells = (duration(each), duration(seconds), size(memory), size(disk))
    return f"  {name:<32}{len(costs):>6}{''.join(f'{cell:>10}' for cell in cells)}  {source}"


def _sums(estimate: Estimate, price_per_hour: float | None) -> Iterator[str]:
    least = "" if estimate.work_seconds() is not None else "at least "
    workers = "1 worker" if estimate.workers == 1 else f"{estimate.workers} workers"
    yield f"by the clock: {least}{duration(estimate.total_seconds())} with {workers}"
    yield (
        f"disk: {size(estimate.disk())} kept, {size(estimate.transient())} of checkpoints while "
        f"it lasts; memory: {size(estimate.memory())} for the largest stage"
    )
    if price_per_hour is not None:
        money = estimate.money(price_per_hour)
        yield f"money: {least}{money:.2f} at {price_per_hour:g} an hour"


def warnings(estimate: Estimate) -> Iterator[str]:
    machine, workers = estimate.machine, min(estimate.workers, max(1, len(estimate.runs)))
    largest = max(estimate.stages, key=lambda stage: stage.cost.memory or 0, default=None)
    if largest is not None and (largest.cost.memory or 0) * workers > machine.memory:
        yield (
            f"memory: {_named(largest)} takes {size(largest.cost.memory)}, {workers} at once, of "
            f"{size(machine.memory)}; use fewer workers, smaller train.execution.positions_per_cut,"
            " train.execution.gradient_checkpointing=true or train=lora"
        )
    if (tight := _without_room(estimate)) is not None:
        yield f"disk: {tight}"
    missing = [stage.cost.missing for stage in estimate.stages if stage.cost.missing]
    for what in dict.fromkeys(missing):
        yield f"not known: {what}; {missing.count(what)} stages are not counted in full"
    if any(stage.cost.source is Source.DEFAULT for stage in estimate.stages):
        yield (
            "no record of this kind of machine tells some of the times: they come from a stated "
            "speed and can be wrong several times over; each finished run makes them better"
        )
    if estimate.unread:
        yield f"records of no use here: {estimate.unread} (another version, or their files went)"


def refuse_without_room(estimate: Estimate) -> None:
    """UserError before the first run, instead of a full disk in the middle of the night."""
    tight = _without_room(estimate)
    if tight is not None:
        raise UserError(f"no space left for these {len(estimate.runs)} runs: {tight}")


def _without_room(estimate: Estimate) -> str | None:
    kept, scratch, free = estimate.disk(), estimate.transient(), estimate.machine.free
    if kept + scratch <= free:
        return None
    return (
        f"{size(kept)} to keep and {size(scratch)} of checkpoints that come and go, and "
        f"{size(free)} are free; free some space, or set TIEBREAK_HOME"
    )


def compare(estimate: Estimate, root: Path | None = None) -> Iterator[str]:
    """How far the estimate was off, from the records its runs have left under `root` (default:
    home) since it was made. Stages that nobody could time are left out."""
    root = root or home()
    pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    done = [one for one in estimate.runs if is_finished(root / "runs" / run_id(one.run))]
    for one in done[:: -(-len(done) // COMPARED) or 1]:
        for name, guess, real in _measured(one, root):
            pairs[name].append((guess, real))
    for name, both in pairs.items():
        guess, real = (statistics.fmean(values) for values in zip(*both, strict=True))
        show = size if name.startswith("memory") else duration
        spread = statistics.median(abs(g - r) / r for g, r in both)
        told = f", half of them within {spread:.0%}" if len(both) > 1 else ""
        yield (
            f"{name}: estimated {show(guess)}, was {show(real)}: {guess / real - 1:+.0%} "
            f"({len(both)} measured{told})"
        )
    if done and len(done) == len(estimate.runs):
        manifests = [read_manifest(root / "runs" / run_id(one.run)) for one in done]
        guess, real = estimate.total_seconds(), _clock(manifests)
        yield (
            f"by the clock: estimated {duration(guess)}, was {duration(real)}: "
            f"{guess / max(real, 1) - 1:+.0%}"
        )


def _measured(one: RunCost, root: Path) -> Iterator[tuple[str, float, float]]:
    """(what, estimated, real) of what this run built itself and left a time or a peak of."""
    folder, store = root / "runs" / run_id(one.run), Store(root / "artefacts")
    manifest, rows = read_manifest(folder), throughput(folder)
    stages = {(s.name, s.what): s for s in graph(one.run, Line.of(one.run))}
    built = {(e["stage"], e["key"]) for e in manifest["stages"] if not e["reused"]}
    for stage in one.stages:
        at = stage.name, stages[stage.name, stage.what].key(store)
        if at not in built:
            continue
        real = build_seconds(store, *at, manifest["times"])
        if stage.name == "align" and rows:
            steps = rows[-1]["step"]
            real = max(real or 0.0, steps * statistics.fmean(row["seconds"] for row in rows))
            if stage.cost.memory:
                num = 1 if manifest["host"]["devices"] else processes(one.run, "align")
                peak = rows[-1]["memory/peak"] * 2**20  # of one of them
                yield "memory of align", stage.cost.memory, num * peak
        if real and stage.cost.seconds is not None:
            yield _named(stage), stage.cost.seconds, real


def _clock(manifests: Sequence[dict[str, Any]]) -> float:
    """Seconds from the first start to the last end."""
    times = [[datetime.fromisoformat(m["times"][k]) for k in ("started", "finished")]
             for m in manifests]  # fmt: skip
    return (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()


def _named(stage: StageCost) -> str:
    return f"{stage.name} ({stage.what})" if stage.what else stage.name


def duration(seconds: float | None) -> str:
    """Two figures or so, in the unit that fits."""
    if seconds is None:
        return "unknown"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def size(count: float | None) -> str:
    """Bytes in the unit that fits."""
    if count is None:
        return "unknown"
    for unit, length in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count:.0f} B"
