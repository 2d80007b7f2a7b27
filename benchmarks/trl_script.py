"""One run of a sweep as a script of its own on stock TRL: SFT, alignment, answers, their reward.

    python benchmarks/trl_script.py FOLDER --method dpo --value 0.1 --seed 1 --out DIR

The other side of `benchmarks/sweep.py`, written as one would without this project; from here comes
the gold reward alone. FOLDER has base/, demonstrations.jsonl, pairs.jsonl, prompts.jsonl and
settings.json. DIR gets the policy and result.json: the numbers, and seconds by phase.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

METHODS = ("dpo", "ipo", "kto", "cpo", "simpo")
Rows = list[dict[str, Any]]


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def of(self, phase: str) -> Generator[None, None, None]:
        began = time.perf_counter()
        yield
        self.add(phase, time.perf_counter() - began)

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def watch(self, reference: Any) -> None:
        """Time the forwards of a reference model apart from the training they are part of."""
        began: list[float] = []
        reference.register_forward_pre_hook(lambda *_: began.append(time.perf_counter()))
        reference.register_forward_hook(
            lambda *_: self.add("reference", time.perf_counter() - began.pop())
        )


def trainer_classes(method: str) -> tuple[Any, Any]:
    """(trainer, its config)."""
    if method in ("dpo", "ipo"):
        from trl import DPOConfig, DPOTrainer

        return DPOTrainer, DPOConfig
    if method == "kto":
        from trl import KTOConfig, KTOTrainer

        return KTOTrainer, KTOConfig
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer, CPOConfig


def own_arguments(method: str, value: float) -> dict[str, Any]:
    """What sets one method apart; `value` is its beta, or IPO's tau."""
    return {"beta": value} | {
        "dpo": {"loss_type": ["sigmoid"]},
        "ipo": {"loss_type": ["ipo"]},
        "kto": {},
        "cpo": {"loss_type": "sigmoid", "cpo_alpha": 1.0},
        "simpo": {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 1.0},
    }[method]


def common_arguments(
    folder: Path, seed: int, part: dict[str, Any], limits: dict[str, Any]
) -> dict[str, Any]:
    """Float32 without recomputing activations, as a small model on a CPU wants it."""
    micro = min(limits["micro_batch"], part["batch_size"])
    return {
        "output_dir": str(folder),
        "seed": seed,
        "max_length": limits["max_length"],
        "learning_rate": part["learning_rate"],
        "lr_scheduler_type": part["schedule"],
        "warmup_steps": part["warmup_share"],
        "num_train_epochs": part["epochs"],
        "max_steps": part.get("max_steps") or -1,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": part["batch_size"] // micro,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def tune(args: argparse.Namespace, settings: dict[str, Any], tokenizer: Any, clock: Clock) -> Any:
    """SFT of the base model on the demonstrations; saved, because TRL reads it from there."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    with clock.of("data"):
        common = common_arguments(args.out, args.seed, settings["sft"], settings)
        trainer = SFTTrainer(
            str(args.folder / "base"),
            args=SFTConfig(**common),
            train_dataset=Dataset.from_list(read(args.folder / "demonstrations.jsonl")),
            processing_class=tokenizer,
        )
    with clock.of("sft"):
        trainer.train()
        trainer.save_model(str(args.out / "sft"))
    return trainer.model


def align(
    args: argparse.Namespace, settings: dict[str, Any], tokenizer: Any, clock: Clock
) -> tuple[Any, int]:
    """(policy, optimiser steps). Where the method has a reference, TRL loads it from sft/ too."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    trainer_class, config_class = trainer_classes(args.method)
    with clock.of("data"):
        rows = read(args.folder / "pairs.jsonl")
        part = settings["align"]
        if args.method == "kto":  # both halves of a pair, so twice the rows make a step
            rows = single_answers(rows, args.seed)
            part = part | {"batch_size": 2 * part["batch_size"]}
            settings = settings | {"micro_batch": 2 * settings["micro_batch"]}
        common = common_arguments(args.out, args.seed, part, settings)
        common |= {"weight_decay": part["weight_decay"], "max_grad_norm": part["max_grad_norm"]}
        trainer = trainer_class(
            AutoModelForCausalLM.from_pretrained(args.out / "sft"),
            args=config_class(**common, **own_arguments(args.method, args.value)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
    if getattr(trainer, "ref_model", None) is not None:
        clock.watch(trainer.ref_model)
    with clock.of("training"):
        trainer.train()
        trainer.save_model(str(args.out / "policy"))
    clock.add("training", -clock.seconds.get("reference", 0.0))
    return trainer.model, trainer.state.global_step


def single_answers(pairs: Rows, seed: int) -> Rows:
    """KTOTrainer takes rows in order, so they are shuffled here."""
    rows = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    random.Random(seed).shuffle(rows)
    return rows


def evaluate(model: Any, tokenizer: Any, prompts: Rows, how: dict[str, Any]) -> list[float]:
    """The gold reward of one answer to each prompt."""
    import torch
    from transformers import set_seed

    from tiebreak.data.world import gold

    model.eval()
    set_seed(how["seed"])
    rewards = []
    for at in range(0, len(prompts), how["batch_size"]):
        part = [row["prompt"] for row in prompts[at : at + how["batch_size"]]]
        asked = tokenizer.apply_chat_template(
            part, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        sampling = {"do_sample": True, "temperature": how["temperature"], "top_k": 0, "top_p": 1.0}
        with torch.no_grad():
            written = model.generate(**asked, max_new_tokens=how["max_new_tokens"], **sampling)
        answers = tokenizer.batch_decode(
            written[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
        )
        texts = (prompt[0]["content"] for prompt in part)
        rewards += [gold(p, a).reward for p, a in zip(texts, answers, strict=True)]
    return rewards


def summary(start: list[float], policy: list[float]) -> dict[str, float]:
    both = list(zip(policy, start, strict=True))
    return {
        "start/gold/reward": sum(start) / len(start),
        "gold/reward": sum(policy) / len(policy),
        "win_rate/start": sum(0.5 if p == s else float(p > s) for p, s in both) / len(both),
    }


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--value", type=float, required=True, help="beta, or IPO's tau")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    clock = Clock()
    with clock.of("imports"):
        from transformers import AutoTokenizer
        from trl import SFTTrainer  # noqa: F401

        trainer_classes(args.method)
    settings = json.loads((args.folder / "settings.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(args.folder / "base", padding_side="left")
    prompts = read(args.folder / "prompts.jsonl")
    start_model = tune(args, settings, tokenizer, clock)
    with clock.of("evaluation, start model"):
        start = evaluate(start_model, tokenizer, prompts, settings["evaluation"])
    model, steps = align(args, settings, tokenizer, clock)
    with clock.of("evaluation, policy"):
        policy = evaluate(model, tokenizer, prompts, settings["evaluation"])
    result = {"metrics": summary(start, policy), "steps": steps, "seconds": clock.seconds}
    (args.out / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
