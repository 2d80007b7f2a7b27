"""How to lay runs out on GPUs that are only named: what fits, what that takes, which is best."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiebreak import provenance
from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.home import home
from tiebreak.plan.estimate import CostEstimate, NeededStage, estimate
from tiebreak.plan.gpus import GPUS, LINKED, UTILISED, Gpu
from tiebreak.plan.memory import GPU_RUNTIME, Layout, layout_of
from tiebreak.plan.report import duration, lines
from tiebreak.plan.speeds import Machine

GIB = 2**30
MOST = 512  # GPUs for one run, where the smallest number that would do is looked for
OTHERS = 8  # GPUs of another kind that are named instead
SAME = 0.1  # of a time: more than that an estimate does not tell apart
LEAST_SHOWN = 0.05  # GiB of a part


@dataclass(frozen=True)
class Option:
    """One layout of every run. at_once: runs side by side."""

    gpu: Gpu
    layout: Layout
    at_once: int
    estimate: CostEstimate

    @property
    def fullest(self) -> NeededStage | None:
        """The stage with most memory of each GPU."""
        return max(self.estimate.stages, key=lambda one: one.cost.memory or 0, default=None)

    @property
    def fits(self) -> bool:
        return self.estimate.memory() <= self.gpu.room

    @property
    def gpus(self) -> int:
        """How many do something: there may be fewer runs than places."""
        return self.layout.processes * min(self.at_once, max(1, len(self.estimate.runs)))

    def money(self, price: float) -> float:
        """For these GPUs and this time; price: of one for an hour."""
        return self.estimate.money(self.gpus * price)


def choose(options: Sequence[Option]) -> Option | None:
    """Fewest GPUs a run among those that fit and take about the least time: runs side by side wait
    less for one another than GPUs of one run do. None: none fits."""
    fitting = [one for one in options if one.fits]
    least = min((one.estimate.total_seconds() for one in fitting), default=0.0)
    near = [one for one in fitting if one.estimate.total_seconds() <= (1 + SAME) * least]
    return min(near, key=lambda one: one.layout.processes, default=None)


class Planner:
    """Estimates the runs that are not done, by layout, on `count` GPUs. workers: runs at once, at
    most."""

    def __init__(
        self, runs: Sequence[Run], gpu: Gpu, count: int, workers: int | None, root: Path
    ) -> None:
        self.runs, self.gpu, self.count, self.workers, self.root = runs, gpu, count, workers, root
        self._host = provenance.host()
        existing = next(place for place in (root, *root.parents) if place.exists())
        self._free = shutil.disk_usage(existing).free
        # A run shares the rows of its optimiser batches among its GPUs.
        self.most = min((run.train.batch_size for run in runs), default=1)

    def option(self, layout: Layout, gpu: Gpu | None = None) -> Option:
        gpu, places = gpu or self.gpu, max(1, self.count // layout.processes)
        at_once = min(places, self.workers or places)
        room = self.count * gpu.room
        machine = Machine(self._host, room, self._free, gpu=gpu, layout=layout)
        found = estimate(self.runs, at_once, root=self.root, machine=machine)
        return Option(gpu, layout, at_once, found)

    def options(self) -> list[Option]:
        """What the runs themselves ask for; else one for each number of GPUs that a run can have:
        as few shards as fit, for the more there are, the more is sent, and copies of them."""
        asked = {layout_of(run) for run in self.runs} - {Layout()}
        if asked:
            most = max(layout.processes for layout in asked)
            if most > self.count:
                raise UserError(
                    f"--gpus {self.count}: a run is laid out on {most} (train.execution); give "
                    f"--gpus {most}, or take the layout from train.execution"
                )
            return [self.option(layout) for layout in asked]
        numbers = [number for number in divisors(self.count) if number <= self.most]
        alone = {number: self.option(Layout(number)) for number in numbers}
        fitting = [number for number, one in alone.items() if one.fits]
        found = []
        for number in numbers:
            shards = next((few for few in fitting if number % few == 0), number)
            layout = Layout(shards, number // shards)
            found.append(alone[number] if shards == number else self.option(layout))
        return found

    def smallest(self, gpu: Gpu, most: int) -> Option | None:
        """With the fewest shards, of 1, 2, 4, ..., that fit on GPUs of this kind; None: none do."""
        numbers = (2**power for power in range(min(most, self.most).bit_length()))
        tried = (self.option(Layout(number), gpu) for number in numbers)
        return next((one for one in tried if one.fits), None)


def divisors(count: int) -> list[int]:
    return [number for number in range(1, count + 1) if count % number == 0]


def layout_lines(
    runs: Sequence[Run],
    gpu: Gpu,
    count: int,
    price: float | None = None,
    workers: int | None = None,
    root: Path | None = None,
) -> list[str]:
    """What fits on `count` GPUs, the layout to take, and its estimate. price: of one GPU for an
    hour, in place of the table's. UserError: nothing fits, or the model's size is not known."""
    planner = Planner(runs, gpu, count, workers, root or home())
    options = planner.options()
    _refuse_unknown(options[0])
    best, price = choose(options), gpu.price if price is None else price
    if best is None:
        raise UserError(_too_small(planner, options[-1]))
    text = list(lines(best.estimate, best.gpus * price))
    if best.estimate.runs:
        text += _table(options, best, price)
    return text


def _refuse_unknown(option: Option) -> None:
    for needed in option.estimate.stages:
        if needed.stage.name == "align" and needed.cost.memory is None:
            raise UserError(
                f"--gpu {option.gpu.name}: not known is {needed.cost.missing}; download its "
                "config.json (hf download ORG/NAME config.json), or give model=FOLDER"
            )


def _table(options: Sequence[Option], best: Option, price: float) -> Iterator[str]:
    gpu = best.gpu
    yield (
        f"layouts on {gpu.name} ({gpu.memory:g} GiB); memory is computed, times and money suppose "
        f"{UTILISED:.0%} of {gpu.tflops:g} TFLOP/s, {LINKED:.0%} of {gpu.link:g} GB/s between GPUs "
        f"and {price:g} an hour each: all of it is an estimate"
    )
    heads = ("GPUs a run", "shards", "replicas", "at once", "GiB a GPU", "by the clock", "money")
    yield "  " + "".join(f"{head:>13}" for head in heads)
    for one in options:
        layout, memory = one.layout, one.estimate.memory() / GIB
        cells = [layout.processes, layout.shards, layout.replicas, one.at_once, f"{memory:.1f}"]
        time, money = duration(one.estimate.total_seconds()), f"{one.money(price):.2f}"
        cells += [time, money] if one.fits else ["too large", "-"]
        yield "  " + "".join(f"{cell:>13}" for cell in cells) + ("  <" if one is best else "")
    side = "one run" if best.at_once == 1 else f"{best.at_once} runs side by side"
    yield f"take: {side}, {words(best.layout)} each"
    if (fullest := best.fullest) is not None and fullest.cost.parts is not None:
        held = {name: count / GIB for name, count in fullest.cost.parts.items()}
        parts = ", ".join(f"{n} {gib:.1f}" for n, gib in held.items() if gib >= LEAST_SHOWN)
        yield f"GiB of each GPU in {fullest.title}: {parts} (runtime is supposed)"


def words(layout: Layout) -> str:
    """A layout in words."""
    number = layout.processes
    split = f"shards={layout.shards}, replicas={layout.replicas}"
    return f"{number} GPU{'' if number == 1 else f's ({split})'}"


def _too_small(planner: Planner, option: Option) -> str:
    """Why nothing fits, and the least that does."""
    gpu, fullest = option.gpu, option.fullest
    assert fullest is not None
    memory = fullest.cost.memory or 0
    least = planner.smallest(gpu, MOST)
    instead = [f"{words(least.layout)} of {gpu.name}"] if least else []
    others = [planner.smallest(one, OTHERS) for one in GPUS.values() if one.room > gpu.room]
    found = [one for one in others if one is not None]
    if found:
        other = min(found, key=lambda one: (one.layout.processes, one.gpu.price))
        instead.append(f"{words(other.layout)} of {other.gpu.name}")
    remedy = f"the smallest that fits: {', or '.join(instead)}" if instead else "no layout does"
    return (
        f"{fullest.title} takes {memory / GIB:.1f} GiB of each of {words(option.layout)} of "
        f"{gpu.name}, which has {gpu.memory:g} ({GPU_RUNTIME / GIB:g} of them supposed for the "
        f"runtime); {remedy}; less: train=lora, train.execution.positions_per_cut"
    )
