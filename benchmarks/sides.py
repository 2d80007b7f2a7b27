"""One side of the throughput benchmark, for a process of its own: DPO by this engine, or by TRL.

Both sides get the same model in float32 (bf16 autocast where the GPU has it), the same pairs, the
same adapter, learning-rate schedule and optimiser batch. The clock covers the reference and every
training step; imports, loading the model and tokenising are outside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import PairSet, preset, read_pairs
from tiebreak.config.schema import TrainConfig


@dataclass(frozen=True)
class Task:
    """What is trained. micro_batch and precompute are TRL's; None and False for ours."""

    model: str
    data: Path
    pairs: int
    lora: bool
    max_length: int
    batch_size: int
    seed: int
    micro_batch: int | None = None
    precompute: bool = False

    def train(self) -> TrainConfig:
        return preset("lora" if self.lora else "full")

    def read(self) -> PairSet:
        """The first `pairs` pairs of a shuffled order, the same on both sides."""
        import random

        pairs = read_pairs(self.data, self.model, self.max_length)
        order = list(range(len(pairs.tokens)))
        random.Random(f"throughput {self.seed}").shuffle(order)
        return pairs.take(order[: self.pairs])


@dataclass
class Clock:
    """Seconds by name, with the device's queue empty at both ends; and CPU seconds in all."""

    seconds: dict[str, float] = field(default_factory=lambda: {"reference": 0.0, "train": 0.0})
    cpu_seconds: float = 0.0

    @contextlib.contextmanager
    def of(self, name: str) -> Generator[None, None, None]:
        began, cpu_began = self._now(), time.process_time()
        yield
        self.seconds[name] += self._now() - began
        self.cpu_seconds += time.process_time() - cpu_began

    def callback(self) -> Any:
        """For TRL's trainer: times from the first step to the last."""
        from transformers import TrainerCallback

        clock = self

        class Steps(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                self.timer = clock.of("train")
                self.timer.__enter__()

            def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                self.timer.__exit__(None, None, None)

        return Steps()

    def _now(self) -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(side: str, task: Task, folder: Path) -> dict[str, float]:
    """Run one side. Peak memory: MiB of the device, else of this process."""
    from tiebreak.engine.trainer import peak_memory
    from tiebreak.stages.stage import use_threads

    pairs, clock = task.read(), Clock()
    use_threads(task.train().execution.num_threads)
    {"ours": ours, "trl": trl}[side](task, pairs, clock, folder)
    seconds = sum(clock.seconds.values())
    return {
        "pairs": len(pairs.tokens),
        "pairs_per_second": len(pairs.tokens) / seconds,
        "reference_seconds": clock.seconds["reference"],
        "train_seconds": clock.seconds["train"],
        "cpu_seconds": clock.cpu_seconds,
        "peak_memory_mib": peak_memory(),
    }


def ours(task: Task, pairs: PairSet, clock: Clock, folder: Path) -> None:
    """The store's pass over the pairs, then training that reads it."""
    from tiebreak.engine.batches import plan_batches
    from tiebreak.engine.checkpoints import set_seed
    from tiebreak.engine.models import load_model, trainable
    from tiebreak.engine.optimiser import Recipe
    from tiebreak.engine.scorer import Scorer, TrainingData
    from tiebreak.engine.trainer import Trainer
    from tiebreak.methods.dpo import DPO

    train = task.train()
    set_seed(task.seed)
    model, execution = load_model(task.model), train.execution
    table = _reference(model, pairs, train, clock)
    model = trainable(model, train)
    data = TrainingData(pairs.tokens, reference=table)
    scorer = Scorer(data, 0, execution.positions_per_cut, execution.cut_overhead)
    plan = plan_batches(len(pairs.tokens), task.batch_size, 1.0, task.seed)
    recipe = Recipe(
        train.learning_rate, task.seed, train.schedule, train.warmup_share, train.weight_decay,
        train.max_grad_norm, precision=precision(train),
        gradient_checkpointing=execution.gradient_checkpointing,
    )  # fmt: skip
    trainer = Trainer(model, DPO(), scorer, plan, recipe, folder, head_chunk=execution.head_chunk)
    trainer.save = lambda: None  # nothing is saved, on neither side
    with clock.of("train"):
        trainer.train()


def _reference(model: Any, pairs: PairSet, train: TrainConfig, clock: Clock) -> Any:
    from tiebreak.engine.models import autocast
    from tiebreak.engine.reference import ReferenceTable, score_all
    from tiebreak.engine.scorer import TrainingData
    from tiebreak.engine.scoring import install

    execution, data = train.execution, TrainingData(pairs.tokens)
    install(model, execution.head_chunk)
    rows = [data.branches(row) for row in range(len(pairs.tokens))]
    with clock.of("reference"), autocast(precision(train)):
        budget, overhead = execution.positions_per_cut, execution.cut_overhead
        return ReferenceTable.of(score_all(model, rows, pad_id=0, budget=budget, overhead=overhead))


def trl(task: Task, pairs: PairSet, clock: Clock, folder: Path) -> None:
    """DPOTrainer with its defaults, but for what `_arguments` sets on both sides."""
    from datasets import Dataset
    from transformers import set_seed
    from trl import DPOConfig, DPOTrainer

    from tiebreak.engine.models import load_model, load_tokenizer

    class Timed(DPOTrainer):
        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            with clock.of("reference"):
                return super()._precompute_ref_logps(*args, **kwargs)

    assert task.micro_batch is not None
    set_seed(task.seed)
    arguments = DPOConfig(
        **_arguments(task, folder),
        per_device_train_batch_size=task.micro_batch,
        gradient_accumulation_steps=task.batch_size // task.micro_batch,
        max_length=task.max_length,
        precompute_ref_log_probs=task.precompute,
    )
    trainer = Timed(
        load_model(task.model),
        args=arguments,
        train_dataset=Dataset.from_list(_texts(pairs)),
        processing_class=load_tokenizer(task.model),
        peft_config=_lora(task.train()) if task.lora else None,
    )
    trainer.add_callback(clock.callback())
    trainer.train()


def _arguments(task: Task, folder: Path) -> dict[str, Any]:
    """The same as on our side; nothing is saved, nothing is reported."""
    import torch

    train = task.train()
    return {
        "output_dir": str(folder),
        "seed": task.seed,
        "data_seed": task.seed,
        "bf16": precision(train) == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": str(train.schedule),
        "warmup_steps": train.warmup_share,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "num_train_epochs": 1,
        "activation_checkpointing": train.execution.gradient_checkpointing,
    }


def precision(train: TrainConfig) -> str:
    """That of the preset on a GPU that computes in bfloat16, else float32."""
    import torch

    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return str(train.precision) if native else "float32"


def _texts(pairs: PairSet) -> list[dict[str, Any]]:
    """Rows as TRL reads them: plain text, or messages on all three fields."""
    rows = []
    for example in pairs.examples:
        answers: list[Any] = list(example.responses)
        if not isinstance(example.prompt, str):
            answers = [[{"role": "assistant", "content": text}] for text in answers]
        rows.append({"prompt": example.prompt, "chosen": answers[0], "rejected": answers[1]})
    return rows


def _lora(train: TrainConfig) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=train.lora.rank,
        lora_alpha=train.lora.alpha,
        target_modules=list(train.lora.targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
