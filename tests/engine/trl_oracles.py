"""Stock TRL trainers as oracles: their first batch, loss and gradients, and that batch as ours.

TRL makes the batch and its own loss; the token ids in that batch then go through our rows,
scoring, reference table and trainer.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from closeness import assert_gradients_near, assert_near, size_of
from datasets import Dataset
from tiny import gradients, make_model, moved, one_step

from tiebreak.data.tokens import Tokens
from tiebreak.engine.scorer import Scorer, TrainingData
from tiebreak.engine.scoring import install
from tiebreak.methods import Pairs

NUM = 8
LEVEL = 9  # tokens of each response of "level responses", the end mark included
# Drift lies in all of policy minus reference, so the policy is a perturbed start model.
SETTINGS = {"report_to": [], "use_cpu": True, "bf16": False, "per_device_train_batch_size": NUM,
            "max_length": None, "disable_tqdm": True, "save_strategy": "no",
            "activation_checkpointing": False}  # fmt: skip


def texts(kind: str = "pairs") -> Dataset:
    """Ragged text; one response is a single character, so one token before the end mark.

    "level responses": all of one length; "level rows": prompt and chosen add up to one length.
    """
    draw = random.Random(0)

    def words(low: int, high: int) -> str:
        return "".join(draw.choices("abcdefghij ", k=draw.randint(low, high)))

    rows = []
    for i in range(NUM):
        chosen = "x" if i == 0 else words(1, 12)
        row = {"prompt": words(2, 9) + ":", "chosen": chosen, "rejected": words(1, 12)}
        if kind == "unpaired":
            row = {"prompt": row["prompt"], "completion": row["chosen"], "label": i % 3 != 0}
        if kind == "level responses":
            row |= {side: words(LEVEL - 1, LEVEL - 1) for side in ("chosen", "rejected")}
        if kind == "level rows":
            row["chosen"] = words(*[15 - len(row["prompt"])] * 2)
        rows.append(row)
    return Dataset.from_list(rows)


def mean_tokens(kind: str = "pairs") -> float:
    """Tokens per chosen response; a character is a token, and so is the end mark."""
    return sum(len(chosen) + 1 for chosen in texts(kind)["chosen"]) / NUM


def start_model() -> Any:
    return make_model(initializer_range=0.3)


def policy_model() -> Any:
    """Near the start model, on the side where KTO's z0 is above its clamp."""
    return moved(start_model(), seed=1)


def dpo_trainer(
    folder: Path, tokenizer: Any, kind: str = "pairs", policy: Any = None, **config: Any
) -> Any:
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=policy or policy_model(),
        ref_model=start_model(),
        args=DPOConfig(output_dir=str(folder), **SETTINGS, **config),
        train_dataset=texts(kind),
        processing_class=tokenizer,
    )


def cpo_trainer(folder: Path, tokenizer: Any, kind: str = "pairs", **config: Any) -> Any:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer(
        model=policy_model(),
        args=CPOConfig(output_dir=str(folder), **SETTINGS, **config),
        train_dataset=texts(kind),
        processing_class=tokenizer,
    )


def orpo_trainer(folder: Path, tokenizer: Any, kind: str = "pairs", **config: Any) -> Any:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer(
        model=policy_model(),
        args=ORPOConfig(output_dir=str(folder), **SETTINGS, **config),
        train_dataset=texts(kind),
        processing_class=tokenizer,
    )


def first_batch(trainer: Any) -> dict[str, Any]:
    (batch,) = list(trainer.get_train_dataloader())
    return batch


def theirs(trainer: Any, batch: dict[str, Any] | None = None) -> tuple:
    """(loss, gradients, batch) of a TRL trainer, on its first batch by default."""
    batch = batch or first_batch(trainer)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), gradients(trainer.model), batch


def spans(ids: torch.Tensor, attention: torch.Tensor, response: torch.Tensor) -> list[tuple]:
    """(prompt ids, response ids) of each row of a padded batch."""
    rows = zip(ids, attention.bool(), response.bool(), strict=True)
    return [(i[a & ~r].tolist(), i[a & r].tolist()) for i, a, r in rows]


def pairs_of(batch: dict[str, Any]) -> Tokens:
    """The pairs of a batch of DPOTrainer (chosen rows, then rejected rows), or of CPO and ORPO."""
    if "completion_mask" in batch:
        keys = ("input_ids", "attention_mask", "completion_mask")
        halves = (slice(0, NUM), slice(NUM, None))
        chosen, rejected = (spans(*(batch[k][half] for k in keys)) for half in halves)
    else:
        chosen, rejected = (
            spans(batch[f"{side}_input_ids"], batch[f"{side}_attention_mask"],
                  batch[f"{side}_labels"] != -100)
            for side in ("chosen", "rejected")
        )  # fmt: skip
    assert [p for p, _ in chosen] == [p for p, _ in rejected]
    responses = [(c, r) for (_, c), (_, r) in zip(chosen, rejected, strict=True)]
    names = [str(i) for i in range(len(chosen))]
    return Tokens(names, [p for p, _ in chosen], responses, [None] * len(chosen))


def scored(method: Any, data: TrainingData) -> Pairs:
    """The whole batch as `method` sees it under the policy, without gradient."""
    model = policy_model()
    install(model)
    with torch.no_grad():
        return Scorer(data, 0, 10_000, 10).pairs(model, range(NUM), method.needs)[0]


def assert_equal(
    expected: tuple, method: Any, data: TrainingData, folder: Path, factor: float = 1.0
) -> None:
    """TRL's loss and gradients are `factor` times ours, cut into several micro-batches."""
    policy = policy_model()
    row, found = one_step(folder, method, data, range(NUM), model=policy, budget=120)
    assert_same(expected, row["loss"], found, factor)
    start = method.loss_at_start()
    assert start is None or abs(row["loss"] - start) > 1e-2, "away from the start"
    assert row.get("kl/mismatched", 1.0) > 0.05, "clamped at 0 it would prove nothing"


def assert_same(expected: tuple, loss: float, found: dict, factor: float = 1.0) -> None:
    """Loss and gradients, `factor` times ours being theirs."""
    their_loss, grads, _ = expected
    assert_near(factor * loss, their_loss, what="loss")
    assert size_of(grads) > 1e-2, "the comparison means something"
    assert_gradients_near({name: factor * grad for name, grad in found.items()}, grads)
