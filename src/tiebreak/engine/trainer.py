"""The training loop of this project: align, SFT and pretraining are this one, in this order.

Of each optimiser batch: micro-batches forward and backward, gradients added up over the processes,
clip, update, log, save, and leave when told to. The loss of a step is the mean over the whole
optimiser batch on all ranks, so it does not depend on cuts, padding, order or number of processes.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tiebreak import interrupt
from tiebreak.engine import checkpoints, metrics, processes
from tiebreak.engine.batches import BatchPlan, share_of_rank
from tiebreak.engine.metrics import Sums
from tiebreak.engine.models import autocast
from tiebreak.engine.optimiser import Recipe, make_optimiser, make_schedule
from tiebreak.engine.probe import CAUSES
from tiebreak.engine.progress import progress
from tiebreak.engine.reference import MethodState
from tiebreak.engine.scorer import Scored, Scorer, stack
from tiebreak.engine.scoring import disable_noise, install
from tiebreak.errors import TrainingFailed, UserError
from tiebreak.methods import Method, Pairs
from tiebreak.track.record import dumps

Row = dict[str, float]
_METHOD = (
    "Usual causes: train.learning_rate too high for this model, or a method parameter far outside "
    "its range (`tiebreak methods NAME` shows it)"
)


class Trainer:
    """Trains `model` by `method` over the batches of `plan`.

    scorer: knows the data and how to cut it. folder: where checkpoints go. log: a file that gets a
    line of JSON per step. on_step(step, metrics, throughput) is called once per optimiser step, on
    rank 0. dropout: leave it on. what: what is trained, for whoever waits; lost: what to say when
    a loss is not finite.
    """

    def __init__(
        self,
        model: Any,
        method: Method,
        scorer: Scorer,
        plan: BatchPlan,
        recipe: Recipe,
        folder: Path,
        *,
        log: Path | None = None,
        on_step: Callable[[int, Row, Row], None] = lambda step, row, speed: None,
        head_chunk: int = 256,
        dropout: bool = False,
        what: str = "train",
        lost: str = _METHOD,
    ) -> None:
        processes.join()
        fewest = len(min(plan.steps, key=len))
        if fewest < processes.world_size():
            raise UserError(
                f"an optimiser batch of {fewest} rows cannot be shared by "
                f"{processes.world_size()} processes; raise train.batch_size or use fewer processes"
            )
        install(model, head_chunk)
        if not dropout:
            disable_noise(model)
        if recipe.gradient_checkpointing:
            model.activation_checkpointing_enable()
        self.model, self.method, self.scorer, self.plan = model, method, scorer, plan
        self.recipe, self.folder, self.log, self.on_step = recipe, folder, log, on_step
        self.what, self.lost = what, lost
        self.method_state = MethodState(method, scorer.data.live)
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(model, recipe)
        self.schedule = make_schedule(self.optimiser, recipe, len(plan))
        self.done = 0

    def train(self) -> None:
        """Every step that is left. Raises `Stopped`, with a checkpoint on disk, when this process
        or another of the run is told to stop; TrainingFailed when loss or gradient are lost."""
        self.model.train()
        with interrupt.deferred(), progress(self.what, len(self.plan), self.done) as advance:
            for step in range(self.done + 1, len(self.plan) + 1):
                began, rows = time.perf_counter(), self.plan.steps[step - 1]
                row = self.backward(rows, step)
                if step == 1:
                    check_start(self.method, row, self.recipe.precision)
                processes.sum_gradients(list(self.trained.values()))
                row["learning_rate"] = self.optimiser.param_groups[0]["lr"]
                row["grad/norm"] = self._clip()
                self._check_finite("gradient", row["grad/norm"], step)
                self.optimiser.step()
                self.schedule.step()
                self.optimiser.zero_grad()
                self.method_state.follow(self.model, step)
                self.done = step
                advance(1)
                self._write(step, row, self._throughput(rows, time.perf_counter() - began))
                stop = processes.any_of(interrupt.requested())
                if stop or step == len(self.plan) or step % self.recipe.checkpoint_every == 0:
                    self.save()
                if stop:
                    processes.wait()  # the first to leave would end the others
                    raise interrupt.Stopped

    def backward(self, rows: Sequence[int], step: int) -> Row:
        """Gradients of this process's share of an optimiser batch, micro-batch by micro-batch;
        returns the metrics of the whole batch."""
        mine = share_of_rank(rows, processes.rank(), processes.world_size())
        whole = self._whole_batch(rows, mine, step)
        per_pair = self.method.needs.unit == "pair"
        count = len(whole.chosen.policy) + (0 if per_pair else len(whole.rejected.policy))
        places = {row: place for place, row in enumerate(rows)}
        sums: Sums = {}
        if whole.mismatched is not None:
            metrics.add(sums, {"kl/mismatched": metrics.of(whole.mismatched.drift())})
        for part in self.scorer.cuts(mine):
            loss_B = self._forward(part, [places[row] for row in part], whole, sums)
            (loss_B.sum() / count).backward()
        metrics.add(sums, {"positions/unique_token": self.scorer.take_counts()})
        row = metrics.means(sums)
        self._check_finite("loss", row["loss"], step)
        return row

    def _forward(self, part: Sequence[int], at: list[int], whole: Pairs, sums: Sums) -> Tensor:
        """(B,) the losses of the rows of a micro-batch, which stand at `at` in the whole one."""
        with autocast(self.recipe.precision):
            pairs, scores = self.scorer.pairs(self.model, part, self.method.needs)
        index_B = torch.tensor(at, device=pairs.chosen.policy.device)
        pairs = replace(pairs, whole=whole, index=index_B)
        loss_B = self.method.loss(pairs)
        entropy_N = torch.cat(scores.entropy)
        metrics.add(sums, {"loss": metrics.of(loss_B), "entropy": metrics.of(entropy_N)})
        metrics.add(sums, metrics.observe(self.method, pairs, self.scorer.data.paired))
        return loss_B

    def _whole_batch(self, rows: Sequence[int], mine: Sequence[int], step: int) -> Pairs:
        """The optimiser batch as the methods' batch statistics see it, equal on every rank."""
        data, asked = self.scorer.data, self.method.needs.whole_batch
        whole = data.masks_only(rows)
        if not asked:
            return whole
        with autocast(self.recipe.precision):
            if "pairs" in asked:
                whole = data.pairs(rows, self._gather(self.scorer.batch(self.model, mine)))
            if "mismatched" in asked:
                scored = list(enumerate(self.scorer.mismatched(self.model, mine)))
                numbered = {(mine[i], k): v for i, both in scored for k, v in enumerate(both)}
                every = self._gather({"both": numbered})["both"]
                both = [(every[row, 0], every[row, 1]) for row in rows]
                whole = replace(whole, mismatched=stack(both))
        return self.method_state.advance(whole, self.recipe.seed, step, rows)

    def _gather(self, scored: Scored) -> Scored:
        """The values of all ranks."""
        if processes.world_size() == 1:
            return scored
        lists = {n: {at: v.tolist() for at, v in part.items()} for n, part in scored.items()}
        device, ranks = next(iter(self.trained.values())).device, processes.gather(lists)
        return {
            name: {at: torch.tensor(v, device=device)
                   for rank in ranks for at, v in rank[name].items()}
            for name in scored
        }  # fmt: skip

    def _clip(self) -> float:
        """The norm of the gradient before it was clipped."""
        limit = self.recipe.max_grad_norm or math.inf
        return float(torch.nn.utils.clip_grad_norm_(self.trained.values(), limit))

    def _check_finite(self, of: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise TrainingFailed(
                f"{self.what}: the {of} became {value} at step {step}. {self.lost}"
            )

    def _write(self, step: int, row: Row, speed: Row) -> None:
        """A line of the log, and word to whoever asked."""
        if processes.rank() > 0:
            return
        if self.log is not None:
            line = dumps({"step": step, **row}, f"{self.log.name}, step {step}")
            with self.log.open("a") as stream:
                stream.write(line + "\n")
        self.on_step(step, row, speed)

    def _throughput(self, rows: Sequence[int], seconds: float) -> Row:
        responses = self.scorer.data.tokens.responses
        return {
            "seconds": seconds,
            "pairs/s": len(rows) / seconds,
            "response_tokens/s": sum(len(r) for row in rows for r in responses[row]) / seconds,
            "memory/peak": peak_memory(),
        }

    def save(self) -> None:
        """A checkpoint of this step. Every rank must call."""
        trees = {"optimizer": self.optimiser.state_dict(), "scheduler": self.schedule.state_dict()}
        target = self.folder / f"checkpoint-{self.done}"
        checkpoints.write(target, self.trained, trees, self.method_state.save)

    def resume(self) -> int:
        """Go on from the last checkpoint, if there is one; returns how many steps the log, cut
        back to it, still has."""
        main = processes.rank() == 0
        last = checkpoints.last_checkpoint(self.folder, clean=main)
        if last is not None:
            states = checkpoints.read(last, self.trained, "optimizer", "scheduler")
            self.optimiser.load_state_dict(states[0])
            self.schedule.load_state_dict(states[1])
            self.method_state.load(last)
            self.done = checkpoints.step_of(last)
        if self.log is None:
            return self.done
        lines = whole_lines(self.log, self.done)
        if main:
            self.log.write_text("".join(lines))
        return len(lines)


def whole_lines(path: Path, most: int) -> list[str]:
    """Those of the first `most` lines of a file that have their end; none where there is no
    file."""
    lines = path.read_text().splitlines(keepends=True)[:most] if path.is_file() else []
    return [line for line in lines if line.endswith("\n")]


def peak_memory() -> float:
    """MiB: of the device when there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check_start(method: Method, metrics: Mapping[str, float], precision: str) -> None:
    """Compare the means of the first optimiser batch, before any update, with what must hold.

    Policy and reference are the same model then. A wrong reference, a template that changed, a
    missing BOS, dropout left on: each makes the first loss differ from its known value and would
    cost the whole run, so the run refuses to train.
    Drift per token must vanish; the loss must equal `method.loss_at_start()` where that is known.
    bfloat16 rounds each log-prob by up to 2^-8 of its value, hence the wider bands there.
    """
    drift_band, loss_band = (2e-4, 2e-2) if precision == "float32" else (5e-2, 2e-1)
    per_token = ("drift/chosen_per_token", "drift/rejected_per_token")
    found = {name: metrics[name] for name in per_token if name in metrics}
    expected = {name: 0.0 for name in found}
    known = method.loss_at_start()
    if known is not None:
        expected["loss"], found["loss"] = known, metrics["loss"]
    for name, value in expected.items():
        band = loss_band * max(1.0, abs(value)) if name == "loss" else drift_band
        # "not within" rather than "beyond": NaN is neither.
        if not abs(found[name] - value) <= band:
            raise UserError(
                f"before the first update {name} must be {value:.6g} and is {found[name]:.6g}: "
                f"the run would train against a wrong reference. Usual causes: {CAUSES}"
            )
