"""Stock TRL trainers as oracles: the same batch gives the same loss and gradients.

TRL makes the batch and its own loss; the token ids in that batch then go through our rows,
scoring, reference table and trainer. Importing TRL takes most of this file's time.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny import VOCAB, gradients, make_data, make_model, moved, one_step, score_table

from tiebreak.data.tokens import Tokens
from tiebreak.engine.scorer import TrainingData
from tiebreak.methods import METHODS

NUM = 8
# Drift lies in all of policy minus reference, so the policy is a perturbed start model.
SETTINGS = {"report_to": [], "use_cpu": True, "bf16": False, "per_device_train_batch_size": NUM,
            "max_length": None, "disable_tqdm": True, "save_strategy": "no",
            "activation_checkpointing": False}  # fmt: skip


def texts(kind: str) -> Dataset:
    """Ragged text; one response is a single character, so one token before the end mark."""
    draw = random.Random(0)

    def words(low: int, high: int) -> str:
        return "".join(draw.choices("abcdefghij ", k=draw.randint(low, high)))

    rows = []
    for i in range(NUM):
        chosen = "x" if i == 0 else words(1, 12)
        row = {"prompt": words(2, 9) + ":", "chosen": chosen, "rejected": words(1, 12)}
        if kind == "unpaired":
            row = {"prompt": row["prompt"], "completion": row["chosen"], "label": i % 3 != 0}
        rows.append(row)
    return Dataset.from_list(rows)


def start_model() -> Any:
    return make_model(initializer_range=0.3)


def policy_model() -> Any:
    """Near the start model, on the side where KTO's z0 is above its clamp."""
    return moved(start_model(), seed=1)


def theirs(trainer: Any) -> tuple[float, dict[str, torch.Tensor], dict[str, Any]]:
    """(loss, gradients, batch) of a TRL trainer's first batch."""
    (batch,) = list(trainer.get_train_dataloader())
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), gradients(trainer.model), batch


def spans(ids: torch.Tensor, attention: torch.Tensor, response: torch.Tensor) -> list[tuple]:
    """(prompt ids, response ids) of each row of a padded batch."""
    rows = zip(ids, attention.bool(), response.bool(), strict=True)
    return [(i[a & ~r].tolist(), i[a & r].tolist()) for i, a, r in rows]


def pairs_of(chosen: list[tuple], rejected: list[tuple]) -> Tokens:
    assert [p for p, _ in chosen] == [p for p, _ in rejected]
    responses = [(c, r) for (_, c), (_, r) in zip(chosen, rejected, strict=True)]
    names = [str(i) for i in range(len(chosen))]
    return Tokens(names, [p for p, _ in chosen], responses, [None] * len(chosen))


def assert_equal(expected: tuple, method: Any, data: TrainingData, folder: Path) -> None:
    loss, grads, _ = expected
    policy = policy_model()
    row, found = one_step(folder, method, data, range(NUM), model=policy, budget=120)
    assert row["loss"] == pytest.approx(loss, abs=1e-5)
    assert set(found) == set(grads)
    for name, want in grads.items():
        torch.testing.assert_close(found[name], want, rtol=1e-5, atol=1e-5, msg=name)
    assert row.get("kl/mismatched", 1.0) > 0.05, "clamped at 0 it would prove nothing"
    assert max(g.abs().max() for g in grads.values()) > 1e-3, "the comparison means something"


def dpo_trainer(folder: Path, tokenizer: Any, **config: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=policy_model(),
        ref_model=start_model(),
        args=DPOConfig(output_dir=str(folder), **SETTINGS, **config),
        train_dataset=texts("pairs"),
        processing_class=tokenizer,
    )


@pytest.mark.parametrize(
    ("method", "config"),
    [(METHODS["dpo"](beta=0.1), {"loss_type": ["sigmoid"], "beta": 0.1}),
     (METHODS["dpo"](beta=0.7), {"loss_type": ["sigmoid"], "beta": 0.7}),
     (METHODS["ipo"](tau=0.5), {"loss_type": ["ipo"], "beta": 0.5})],
    ids=["dpo 0.1", "dpo 0.7", "ipo mean"],
)  # fmt: skip
def test_dpo_and_ipo(tmp_path, tokenizer, method, config):
    trainer = dpo_trainer(tmp_path, tokenizer, **config)
    expected = theirs(trainer)
    batch = expected[2]
    keys = ("input_ids", "attention_mask", "completion_mask")
    sides = [spans(*(batch[k][half] for k in keys)) for half in (slice(0, NUM), slice(NUM, None))]
    tokens = pairs_of(*sides)
    assert min(len(r) for row in tokens.responses for r in row) <= 2
    assert_equal(expected, method, make_data(tokens, start_model(), method), tmp_path)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.4, 0.6)])
def test_kto_on_mixed_unpaired_rows(tmp_path, tokenizer, weights):
    from trl import KTOConfig, KTOTrainer

    settings = {"beta": 0.3, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
    trainer = KTOTrainer(
        model=policy_model(),
        ref_model=start_model(),
        args=KTOConfig(output_dir=str(tmp_path), **SETTINGS, **settings),
        train_dataset=texts("unpaired"),
        processing_class=tokenizer,
    )
    expected = theirs(trainer)
    method = METHODS["kto"](**settings)
    data = kto_data(expected[2], method)
    assert_equal(expected, method, data, tmp_path)


def kto_data(batch: dict[str, Any], method: Any) -> TrainingData:
    """TRL's rows, labels and its own KL completions, in our terms."""
    rows = spans(batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    others = spans(batch["KL_input_ids"], batch["KL_attention_mask"], batch["KL_completion_mask"])
    assert [p for p, _ in rows] == [p for p, _ in others]
    responses = [r for _, r in rows]
    labels = [bool(label) for label in batch["label"]]
    assert 0 < sum(labels) < NUM, "both classes in one batch"
    prompts = [p for p, _ in rows]
    tokens = Tokens([str(i) for i in range(NUM)], prompts, [(r,) for r in responses], labels)
    partners = [(responses.index(r), 0) for _, r in others]
    assert all(row != other for row, (other, _) in enumerate(partners))
    ours = make_data(tokens, start_model(), method)
    theirs_too = TrainingData(tokens, ours.reference, partners)
    branches = [theirs_too.mismatched_branches(row) for row in range(NUM)]
    return TrainingData(tokens, ours.reference, partners, score_table(start_model(), branches))


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_cpo_with_the_batch_nll(tmp_path, tokenizer, alpha):
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    trainer = CPOTrainer(
        model=policy_model(),
        args=CPOConfig(output_dir=str(tmp_path), **SETTINGS, beta=0.2, cpo_alpha=alpha),
        train_dataset=texts("pairs"),
        processing_class=tokenizer,
    )
    expected = theirs(trainer)
    batch = expected[2]
    sides = [
        spans(*(batch[f"{side}_{k}"] for k in ("input_ids", "attention_mask")),
              batch[f"{side}_labels"] != -100)
        for side in ("chosen", "rejected")
    ]  # fmt: skip
    method = METHODS["cpo"](beta=0.2, alpha=alpha, nll="batch")
    tokens = pairs_of(*sides)
    assert_equal(expected, method, make_data(tokens, start_model(), method), tmp_path)


def test_the_tokenizer_fits_the_model(tokenizer):
    assert len(tokenizer) <= VOCAB
