"""An estimate for people: a table, the sums, what to look out for, and how far it was off."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tiebreak.errors import UserError
from tiebreak.home import home
from tiebreak.plan.estimate import Cost, CostEstimate, RunCost, title, total, worst
from tiebreak.plan.speeds import TimeFrom, build_seconds, processes, throughput
from tiebreak.store import Store
from tiebreak.track.record import is_done, read_manifest

COMPARED = 200  # runs whose stages are looked at


def lines(estimate: CostEstimate, price_per_hour: float | None = None) -> Iterator[str]:
    """A line for each kind of stage, then the sums and the warnings."""
    yield f"{len(estimate.runs)} runs to do, {estimate.finished} finished"
    groups: defaultdict[tuple[str, str], list[Cost]] = defaultdict(list)
    for needed in estimate.stages:
        groups[needed.stage.name, needed.stage.what].append(needed.cost)
    if groups:
        heads = "".join(f"{head:>10}" for head in ("each", "in all", "memory", "kept"))
        yield f"  {'stage':<32}{'build':>6}{heads}  time from"
        yield from (_row(title(*of), costs) for of, costs in groups.items())
        yield from _sums(estimate, price_per_hour)
    yield from (f"warning: {text}" for text in warnings(estimate))


def _row(what: str, costs: Sequence[Cost]) -> str:
    seconds, disk = total([c.seconds for c in costs]), total([c.disk for c in costs])
    memory = max((c.memory for c in costs if c.memory is not None), default=None)
    each = None if seconds is None else seconds / len(costs)
    source = worst([c.time_from for c in costs])
    cells = (duration(each), duration(seconds), size(memory), size(disk))
    return f"  {what:<32}{len(costs):>6}{''.join(f'{cell:>10}' for cell in cells)}  {source}"


def _sums(estimate: CostEstimate, price_per_hour: float | None) -> Iterator[str]:
    least = "" if estimate.work_seconds() is not None else "at least "
    workers = "1 worker" if estimate.workers == 1 else f"{estimate.workers} workers"
    yield f"by the clock: {least}{duration(estimate.total_seconds())} with {workers}"
    yield (
        f"disk: {size(estimate.disk)} kept, {size(estimate.transient())} of checkpoints while "
        f"it lasts; memory: {size(estimate.memory())} for the largest stage"
    )
    if price_per_hour is not None:
        money = estimate.money(price_per_hour)
        yield f"money: {least}{money:.2f} at {price_per_hour:g} an hour"


def warnings(estimate: CostEstimate) -> Iterator[str]:
    """What does not fit, what is not known, and which times are a guess."""
    machine, workers = estimate.machine, min(estimate.workers, max(1, len(estimate.runs)))
    largest = max(estimate.stages, key=lambda needed: needed.cost.memory or 0, default=None)
    if largest is not None and (largest.cost.memory or 0) * workers > machine.memory:
        yield (
            f"memory: {largest.title} takes {size(largest.cost.memory)}, {workers} at once, of "
            f"{size(machine.memory)}; use fewer workers, smaller train.execution.positions_per_cut,"
            " train.execution.gradient_checkpointing=true or train=lora"
        )
    if (shortage := _shortage(estimate)) is not None:
        yield f"disk: {shortage}"
    missing = [needed.cost.missing for needed in estimate.stages if needed.cost.missing]
    for what in dict.fromkeys(missing):
        yield f"not known: {what}; {missing.count(what)} stages are not counted in full"
    if any(needed.cost.time_from is TimeFrom.DEFAULT for needed in estimate.stages):
        yield (
            "no record of this kind of machine tells some of the times: they come from a stated "
            "speed and can be wrong several times over; each finished run makes them better"
        )
    if estimate.unread:
        yield f"records of no use here: {estimate.unread} (another version, or their files went)"


def refuse_without_room(estimate: CostEstimate) -> None:
    """UserError before the first run, instead of a full disk in the middle of the night."""
    if (shortage := _shortage(estimate)) is not None:
        raise UserError(f"no space left for these {len(estimate.runs)} runs: {shortage}")


def _shortage(estimate: CostEstimate) -> str | None:
    kept, scratch, free = estimate.disk, estimate.transient(), estimate.machine.free
    if kept + scratch <= free:
        return None
    return (
        f"{size(kept)} to keep and {size(scratch)} of checkpoints that come and go, and "
        f"{size(free)} are free; free some space, or set TIEBREAK_HOME"
    )


def compare(estimate: CostEstimate, root: Path | None = None) -> Iterator[str]:
    """How far the estimate was off, from the records its runs have left under `root` (default:
    home) since it was made. Stages that nobody could time are left out."""
    root = root or home()
    pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    done = [
        cost
        for cost in estimate.runs
        if is_done(_record(cost, root), cost.run.evaluation_id, cost.run.evaluators)
    ]
    for cost in done[:: -(-len(done) // COMPARED) or 1]:
        for what, guess, real in _measured(cost, root):
            pairs[what].append((guess, real))
    for what, both in pairs.items():
        guess, real = (statistics.fmean(values) for values in zip(*both, strict=True))
        show = size if what.startswith("memory") else duration
        spread = statistics.median(abs(g - r) / r for g, r in both)
        within = f", half of them within {spread:.0%}" if len(both) > 1 else ""
        yield (
            f"{what}: estimated {show(guess)}, was {show(real)}: {guess / real - 1:+.0%} "
            f"({len(both)} measured{within})"
        )
    if done and len(done) == len(estimate.runs):
        guess = estimate.total_seconds()
        real = _clock([read_manifest(_record(cost, root)) for cost in done])
        yield (
            f"by the clock: estimated {duration(guess)}, was {duration(real)}: "
            f"{guess / max(real, 1) - 1:+.0%}"
        )


def _record(cost: RunCost, root: Path) -> Path:
    return root / "runs" / cost.run.run_id


def _measured(cost: RunCost, root: Path) -> Iterator[tuple[str, float, float]]:
    """(what, estimated, real) of what this run built itself and left a time or a peak of."""
    folder, store = _record(cost, root), Store(root / "artefacts")
    manifest, rows = read_manifest(folder), throughput(folder)
    built = {(e["stage"], e["key"]) for e in manifest["stages"] if not e["reused"]}
    for stage, guess in cost.to_build():
        at = stage.name, stage.key
        if at not in built:
            continue
        real = build_seconds(store, *at, manifest["times"])
        if stage.name == "align" and rows:
            steps = rows[-1]["step"]
            real = max(real or 0.0, steps * statistics.fmean(row["seconds"] for row in rows))
            if guess.memory:
                num = 1 if manifest["host"]["devices"] else processes(cost.run, "align")
                peak = rows[-1]["memory/peak"] * 2**20  # of one of them
                yield "memory of align", guess.memory, num * peak
        if real and guess.seconds:
            yield title(stage.name, stage.what), guess.seconds, real


def _clock(manifests: Sequence[dict[str, Any]]) -> float:
    """Seconds from the first start to the last end."""
    times = [[datetime.fromisoformat(m["times"][k]) for k in ("started", "finished")]
             for m in manifests]  # fmt: skip
    return (max(end for _, end in times) - min(start for start, _ in times)).total_seconds()


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
