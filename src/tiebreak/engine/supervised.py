"""Pretraining and SFT, both by `trl.SFTTrainer` on rows tokenised here. TRL is pinned to one minor
version; `tests/engine/test_trl_contract.py` says what is relied upon."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.engine.checkpoints import SafeCheckpoints, last_checkpoint, train
from tiebreak.engine.progress import quiet_trainer
from tiebreak.engine.trainer import common_arguments, one_device
from tiebreak.errors import TrainingFailed

_TIMES = ("runtime", "per_second", "total_flos")  # in the names of what a log line leaves out
_LEARNING_RATE = {
    "pretrain": "model.pretraining.learning_rate",
    "instruct": "model.instruct_tuning.learning_rate",
    "sft": "train.sft.learning_rate",
}


@dataclass(frozen=True)
class Settings:
    """learning_rate (peak), rows per optimiser step, passes, and rows per forward on one device."""

    learning_rate: float
    batch_size: int
    epochs: float
    seed: int
    schedule: str = "linear"
    adam_beta2: float = 0.999
    warmup_share: float = 0.1
    precision: str = "float32"
    checkpoint_every: int = 100
    rows_per_forward: int = 8
    gradient_checkpointing: bool = False


def fine_tune(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    settings: Settings,
    work: Path,
    what: str = "sft",
) -> None:
    """Train `model` on the answers given their prompts; resumes from `work/checkpoints`. An empty
    prompt scores every token of its answer but the first. Leaves the trained model and the
    tokenizer in `work`, and `log.jsonl` with what the trainer logged."""
    from datasets import Dataset
    from trl import SFTTrainer

    rows = [
        {"input_ids": [*p, *a], "labels": [-100] * len(p) + [*a]}
        for p, a in zip(prompts, answers, strict=True)
    ]
    trainer_class: Any = type("SupervisedTrainer", (SafeCheckpoints, SFTTrainer), {})
    trainer = trainer_class(
        model=model, args=one_device(_arguments(settings, work)),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    )  # fmt: skip
    quiet_trainer(trainer, what)
    trainer.add_callback(_stop_when_lost(what))
    resume = last_checkpoint(work / "checkpoints")
    if resume:
        print(f"{what}: resumed from {resume.name}", file=sys.stderr, flush=True)
    train(trainer, resume)
    log = [
        {key: value for key, value in entry.items() if not any(word in key for word in _TIMES)}
        for entry in trainer.state.log_history
    ]
    if trainer.args.should_save:
        trainer.model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in log]
        (work / "log.jsonl").write_text("".join(lines))


def _stop_when_lost(what: str) -> Any:
    """A callback that ends training before weights that are not numbers reach a checkpoint."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            for name in ("loss", "grad_norm", "train_loss"):
                if not math.isfinite(value := rest["logs"].get(name, 0.0)):
                    raise TrainingFailed(
                        f"{what}: {name} became {value} by step {state.global_step} of "
                        f"{state.max_steps}; lower {_LEARNING_RATE[what]}"
                    )

    return Stop()


def _arguments(settings: Settings, work: Path) -> Any:
    from trl import SFTConfig

    per_forward = min(settings.rows_per_forward, settings.batch_size)
    while settings.batch_size % per_forward:
        per_forward -= 1
    return SFTConfig(
        **common_arguments(
            work / "checkpoints", settings.precision, settings.seed, settings.checkpoint_every
        ),
        learning_rate=settings.learning_rate, lr_scheduler_type=settings.schedule,
        adam_beta2=settings.adam_beta2, warmup_steps=settings.warmup_share,
        num_train_epochs=settings.epochs, per_device_train_batch_size=per_forward,
        gradient_accumulation_steps=settings.batch_size // per_forward,
        activation_checkpointing=settings.gradient_checkpointing,
        logging_steps=math.gcd(10, settings.checkpoint_every),  # looked at before each is saved
        max_length=None, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
