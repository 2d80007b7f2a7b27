"""One trainer for all methods, on `transformers.Trainer`.

The Trainer is handed one optimiser batch per step; `training_step` cuts it into micro-batches, and
gradients are synchronised on the last cut only. The loss of a step is the mean over the whole
optimiser batch on all ranks, so it does not depend on cuts, padding, order or number of processes.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from tiebreak.engine import metrics
from tiebreak.engine.batches import BatchPlan, share_of_rank
from tiebreak.engine.checkpoints import SafeCheckpoints
from tiebreak.engine.probe import CAUSES
from tiebreak.engine.reference import MethodState
from tiebreak.engine.scorer import Scored, Scorer, stack
from tiebreak.engine.scoring import disable_noise, install
from tiebreak.errors import TrainingFailed, UserError
from tiebreak.methods import Method, Pairs

Row = dict[str, float]


class PreferenceTrainer(SafeCheckpoints, Trainer):
    """Trains `model` by `method` over the batches of `plan`.

    scorer: knows the data and how to cut it. on_step(step, metrics, throughput) is called once per
    optimiser step, on rank 0. `precision` is what the reference was scored in.
    """

    def __init__(
        self,
        model: Any,
        method: Method,
        scorer: Scorer,
        plan: BatchPlan,
        args: TrainingArguments,
        *,
        on_step: Callable[[int, Row, Row], None] = lambda step, row, speed: None,
        precision: str = "float32",
        head_chunk: int = 256,
    ) -> None:
        install(model, head_chunk)
        disable_noise(model)
        self.method, self.scorer, self.plan = method, scorer, plan
        self.on_step, self.precision = on_step, precision
        self.method_state = MethodState(method, scorer.data.live)
        self._sums: metrics.Sums = {}
        self._step_began, self._step = time.perf_counter(), 0
        self._rows: Sequence[int] = ()
        super().__init__(
            model=model, args=args, train_dataset=cast(Any, plan), callbacks=[_AfterUpdate(self)]
        )
        check_processes(self.accelerator.num_processes)
        if len(min(plan.steps, key=len)) < self.args.world_size:
            raise UserError(
                f"an optimiser batch of {len(min(plan.steps, key=len))} rows cannot be shared by "
                f"{self.args.world_size} processes; raise train.batch_size or use fewer processes"
            )

    def get_train_dataloader(self) -> DataLoader:
        """One optimiser batch per item, in the plan's order, the same on every rank."""
        return DataLoader(
            cast(Any, self.plan), batch_size=1, shuffle=False, collate_fn=lambda one: one[0]
        )

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward of one optimiser batch; returns its loss (for Trainer's log)."""
        self._step_began = time.perf_counter()
        model.train()
        self._rows, self._step = inputs["rows"], self.state.global_step + 1
        mine = share_of_rank(self._rows, self.args.process_index, self.args.world_size)
        whole = self._whole_batch(model, mine)
        unit = self.method.needs.unit
        count = len(whole.chosen.policy) + (len(whole.rejected.policy) if unit != "pair" else 0)
        sums: metrics.Sums = {}
        if whole.mismatched is not None:
            drift_B = whole.mismatched.drift()
            metrics.add(sums, {"kl/mismatched": (drift_B.double().sum(), float(len(drift_B)))})
        cuts = self.scorer.cuts(mine)
        for number, part in enumerate(cuts):
            last = number == len(cuts) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss_B = self._forward(model, part, whole, sums)
                # DDP averages gradients over ranks; a sum over the batch is wanted.
                loss = loss_B.sum() / count * self.args.world_size
                self.accelerator.backward(loss)
        metrics.add(sums, {"positions/unique_token": self.scorer.take_counts()})
        self._sums = sums
        return self._check_step()

    def _forward(self, model: Any, part: list[int], whole: Pairs, sums: metrics.Sums) -> Tensor:
        with self.compute_loss_context_manager():
            pairs, scores = self.scorer.pairs(model, part, self.method.needs)
        places = {row: place for place, row in enumerate(self._rows)}
        index_B = torch.tensor([places[row] for row in part], device=pairs.chosen.policy.device)
        pairs = replace(pairs, whole=whole, index=index_B)
        loss_B = self.method.loss(pairs)
        metrics.add(sums, {"loss": (loss_B.detach().double().sum(), float(len(loss_B)))})
        metrics.add(sums, metrics.observe(self.method, pairs, self.scorer.data.paired))
        entropy_N = torch.cat(scores.entropy)
        metrics.add(sums, {"entropy": (entropy_N.double().sum(), float(len(entropy_N)))})
        return loss_B

    def _whole_batch(self, model: Any, mine: Sequence[int]) -> Pairs:
        """The optimiser batch as the methods' batch statistics see it, equal on every rank."""
        data, asked = self.scorer.data, self.method.needs.whole_batch
        whole = data.masks_only(self._rows)
        with self.compute_loss_context_manager():
            if "pairs" in asked:
                whole = data.pairs(self._rows, self._gather(self.scorer.batch(model, mine)))
            if "mismatched" in asked:
                scored = list(enumerate(self.scorer.mismatched(model, mine)))
                numbered = {(mine[i], k): v for i, both in scored for k, v in enumerate(both)}
                every = self._gather({"both": numbered})["both"]
                both = [(every[row, 0], every[row, 1]) for row in self._rows]
                whole = replace(whole, mismatched=stack(both))
        if not asked:
            return whole
        return self.method_state.advance(whole, self.args.seed, self._step, self._rows)

    def _gather(self, scored: Scored) -> Scored:
        """The values of all ranks."""
        if self.args.world_size == 1:
            return scored
        lists = {n: {at: v.tolist() for at, v in part.items()} for n, part in scored.items()}
        ranks: list[Any] = [None] * self.args.world_size
        torch.distributed.all_gather_object(ranks, lists)
        return {
            name: {at: torch.tensor(v, device=self.args.device)
                   for rank in ranks for at, v in rank[name].items()}
            for name in scored
        }  # fmt: skip

    def _check_step(self) -> Tensor:
        """Reduce the step's metrics over ranks; stop on the first loss that is not a number."""
        self._row = metrics.means(self._sums, reduce=self.args.world_size > 1)
        if not math.isfinite(self._row["loss"]):
            raise TrainingFailed(_lost("loss", self._row["loss"], self._step))
        if self._step == 1:
            check_start(self.method, self._row, self.precision)
        return torch.tensor(self._row["loss"], device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer calls this after every step (logging_steps=1), before it saves."""
        if "grad_norm" not in logs:
            return
        if not math.isfinite(logs["grad_norm"]):
            step = self.state.global_step
            raise TrainingFailed(_lost("gradient", logs["grad_norm"], step))
        row = self._row | {"grad/norm": logs["grad_norm"], "learning_rate": logs["learning_rate"]}
        if self.args.process_index == 0:
            self.on_step(self.state.global_step, row, self._throughput())

    def _throughput(self) -> Row:
        seconds = time.perf_counter() - self._step_began
        responses = self.scorer.data.tokens.responses
        tokens = sum(len(r) for row in self._rows for r in responses[row])
        return {
            "seconds": seconds,
            "pairs/s": len(self._rows) / seconds,
            "response_tokens/s": tokens / seconds,
            "memory/peak": peak_memory(),
        }

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            self.method_state.save(Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.method_state.load(Path(checkpoint))

    def floating_point_ops(self, inputs: Any) -> int:
        """Trainer's estimate needs padded batches; `positions/unique_token` is ours."""
        return 0


class _AfterUpdate(TrainerCallback):
    """Trainer calls this after every update, before it saves."""

    def __init__(self, trainer: PreferenceTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.method_state.follow(self.trainer.model, state.global_step)


def _lost(what: str, value: float, step: int) -> str:
    return (
        f"the {what} became {value} at step {step}. Usual causes: train.learning_rate too high for "
        "this model, or a method parameter far outside its range (`tiebreak methods NAME` shows it)"
    )


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


def one_device(arguments: Any) -> Any:
    """A process trains on one device; several devices are several processes (torchrun).

    Left alone, Trainer wraps the model in DataParallel wherever it sees two devices, which
    multiplies the optimiser batch and cannot split rows.
    """
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def check_processes(training: int) -> None:
    """UserError where the processes that a launcher started know nothing of each other, as with
    `accelerate launch` and an FSDP file on a machine without GPU. `training`: what Trainer sees."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != training:
        raise UserError(
            f"{started} processes were started, and each would train by itself (accelerate sees "
            f"{training}); leave the launcher out and give train.execution.num_processes={started}"
        )


def common_arguments(folder: Path, precision: str, seed: int, checkpoint_every: int) -> dict:
    """Keyword arguments of `TrainingArguments`: where, how exact, and nothing sent anywhere."""
    arguments: dict[str, Any] = {
        "output_dir": str(folder), "seed": seed, "data_seed": seed,
        "bf16": precision == "bfloat16", "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "steps", "save_steps": checkpoint_every, "save_total_limit": None,
        "logging_strategy": "steps", "logging_nan_inf_filter": False, "report_to": [],
        "disable_tqdm": True, "dataloader_num_workers": 0, "dataloader_pin_memory": False,
        "remove_unused_columns": False,
    }  # fmt: skip
    if not torch.cuda.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        arguments["ddp_backend"] = "gloo"
    return arguments
