"""What runs will cost before they are done: seconds, memory, disk and money, stage by stage.

Only stages that are not in the store count, each once however many runs share it. N: parameters of
the start model; T: those that are trained (N, or an adapter's); P: positions, padding left out; a
row is prompt + responses - 1 (engine/rows.py), a single one prompt + response - 1.

**Work**, in FLOPs: N x P x 2 for a forward; x 6 for training, x 4 with an adapter (its weights'
gradients are few), and 2 more with gradient checkpointing.

    pretrain, instruct, sft  texts x epochs x tokens, trained
    reference                training rows, forward; mismatched responses: single rows
    align                    rows of all steps, trained; besides, forward: + row with a live
                             reference, + row for statistics of whole batches of pairs, + single
                             row for mismatched ones (both twice with a live reference)
    generate                 prompts x (prompt + max_new_tokens), forward
    evaluate                 held-out rows and answers, forward; a policy's answers twice
    tokens                   rows, not FLOPs

**Seconds** = work / speed; the speed is the median of records on this kind of machine (`host` of
the manifest), and `Source` says which: (a) the same shape of model, adapter, precision, threads,
data, stage and method; (b) the same but for data and method, scaled by the work; (c) FLOPs per
second and thread of any record, of the same kind of computation if there is one; else a stated
default: 2e10 a thread of a CPU, 5e13 a GPU, answers at a half or a twentieth of that. What was
measured with several workers at once is a speed with several workers. Starting a worker is counted
once, at a stated 10 s.

**Memory** = 600 MiB of libraries + 4 bytes x (N + adapter + 3 T: gradient and Adam's two moments),
+ 4 N for a frozen copy (live reference, no adapter), + activations: positions of a micro-batch
(positions_per_cut at most) x layers x 4 x (10 hidden + 4 intermediate) bytes, with gradient
checkpointing 4 x hidden per layer and one whole layer, + logits: 2 x head_chunk x vocabulary x 4
(twice with a divergence over the vocabulary; supervised stages: 3 x positions x vocabulary x 4).
A pass without gradient: weights, one layer and the logits; generate: weights, keys and values.
Several processes (train.execution.num_processes) are several times the threads, or devices, and on
a CPU several times the memory.

**Disk** kept = 4 T for what is trained (sft and the like: 4 N), 4 per scored token for a reference,
tables by row and token as measured; the W&B mirror is left out. **Transient** = checkpoints: 12 T,
+ 4 N for a moving reference, twice while one replaces another; gone when the stage is done.

Sizes come from the headers of tokenised data and of safetensors files; before there are any, from
the recipe of the world's model, config.json, the world's mean lengths, or a file's rows at 4 bytes
a token. A Hub model or data set that is not here has none: its cost is unknown, and said so.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiebreak.config.identity import run_id
from tiebreak.config.schema import Run
from tiebreak.home import home
from tiebreak.plan.collector import uncollected
from tiebreak.plan.machine import Machine
from tiebreak.plan.past import read_speeds
from tiebreak.plan.tally import Cost, RunCost, StageCost, Tally, total
from tiebreak.plan.words import compare, lines, refuse_without_room, warnings
from tiebreak.store import Store
from tiebreak.track.record import is_finished

__all__ = [
    "Cost", "Estimate", "RunCost", "StageCost", "compare", "estimate", "lines",
    "refuse_without_room",
]  # fmt: skip

WORKER_SECONDS = 10.0  # to start one: the libraries take most of it


@dataclass(frozen=True)
class Estimate:
    """What is left to do. finished: runs that were done before; unread: records of no use."""

    stages: tuple[StageCost, ...]
    runs: tuple[RunCost, ...]
    finished: int
    workers: int
    machine: Machine
    unread: int = 0

    def total_seconds(self, workers: int | None = None) -> float:
        """By the clock, runs handed out in order and shared stages waited for. What is not known
        counts as nothing: then this is the least it takes."""
        if not self.runs:
            return 0.0
        free = [WORKER_SECONDS] * min(workers or self.workers, len(self.runs))
        done: dict[int, float] = {}
        for run in self.runs:
            now = heapq.heappop(free)
            for stage in run.stages:
                if stage.number not in done:
                    done[stage.number] = now + (stage.cost.seconds or 0.0)
                now = max(now, done[stage.number])
            heapq.heappush(free, now)
        return max(free)

    def work_seconds(self) -> float | None:
        """Of all stages, one after another; None when one is not known."""
        return total([stage.cost.seconds for stage in self.stages])

    def memory(self) -> int:
        """Of the largest stage, as far as known."""
        return max((stage.cost.memory or 0 for stage in self.stages), default=0)

    def disk(self) -> int:
        """Kept: artefacts and records."""
        artefacts = sum(stage.cost.disk or 0 for stage in self.stages)
        return artefacts + sum(run.record for run in self.runs)

    def transient(self) -> int:
        """Checkpoints at most, every worker at its largest."""
        largest = sorted((stage.cost.transient or 0 for stage in self.stages), reverse=True)
        return sum(largest[: self.workers])

    def money(self, price_per_hour: float, workers: int | None = None) -> float:
        """For a machine at this price, in the price's currency."""
        return self.total_seconds(workers) / 3600 * price_per_hour

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(warnings(self))


@uncollected
def estimate(
    runs: Sequence[Run],
    workers: int = 1,
    *,
    root: Path | None = None,
    machine: Machine | None = None,
) -> Estimate:
    """Of the runs that are not finished. root: where artefacts and records are (default: home)."""
    root = root or home()
    machine, store, records = (
        machine or Machine.here(root),
        Store(root / "artefacts"),
        root / "runs",
    )
    speeds = read_speeds(records, store, machine)
    begun = {p.name for p in records.iterdir()} if records.is_dir() else set()
    tally, costs = Tally(store, speeds, machine), []
    for run in runs:
        if begun and (name := run_id(run)) in begun and is_finished(records / name):
            continue
        costs.append(tally.add(run))
    finished = len(runs) - len(costs)
    return Estimate(tuple(tally.stages), tuple(costs), finished, workers, machine, speeds.unread)
