"""What the engine's tests share: a two-layer Llama with random weights, and rows for it.

A module and not only fixtures, because the two-process test runs it outside pytest.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD
from transformers import LlamaConfig, LlamaForCausalLM

from tiebreak.data.tokens import Tokens
from tiebreak.engine.batches import BatchPlan, mismatch, plan_batches
from tiebreak.engine.checkpoints import set_seed
from tiebreak.engine.optimiser import Recipe, make_schedule
from tiebreak.engine.reference import Live, ReferenceTable, score_all
from tiebreak.engine.rows import Branches
from tiebreak.engine.scorer import Scorer, TrainingData
from tiebreak.engine.scoring import install
from tiebreak.engine.trainer import Trainer
from tiebreak.methods import Method

VOCAB = 300
torch.set_num_threads(1)  # sums in one order, for bit-equal runs; and faster at this size


def make_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """Float32, in eval mode, with weights large enough that log-probs differ from uniform."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    config = LlamaConfig(**{**shape, **changes}, attn_implementation="sdpa")
    return LlamaForCausalLM(config).eval()


def moved(model: LlamaForCausalLM, seed: int = 1, scale: float = 0.02) -> LlamaForCausalLM:
    """A copy with other weights nearby: a policy that has left its reference."""
    copy = type(model)(model.config).eval()
    copy.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return copy


def make_tokens(num: int = 12, seed: int = 0, labelled: bool = False, k: int = 2) -> Tokens:
    """Ragged rows with repeated prompts; the first row's responses are one token long.

    k > 2: ranked lists of k, two of each row with the same score.
    """
    draw = random.Random(seed)

    def ids(low: int, high: int) -> list[int]:
        return [draw.randrange(3, VOCAB) for _ in range(draw.randint(low, high))]

    prompts = [ids(1, 9) for _ in range(max(2, num // 2))]
    rows = Tokens([], [], [], [], [] if k > 2 else None)
    for i in range(num):
        rows.ids.append(f"row{i}")
        rows.prompts.append(list(prompts[i % len(prompts)]))
        sides = 1 if labelled else k
        rows.responses.append(tuple([2] if i == 0 else [*ids(1, 11), 2] for _ in range(sides)))
        rows.labels.append(draw.random() < 0.5 if labelled else None)
        if rows.scores is not None:
            rows.scores.append((float(k), *(float(k - max(j, 2)) for j in range(1, k))))
    return rows


def score_table(model: Any, branches: Sequence[Branches]) -> ReferenceTable:
    install(model)
    return ReferenceTable.of(score_all(model, branches, pad_id=0, budget=200, overhead=10))


def make_data(
    tokens: Tokens, reference: Any, method: Method, mismatched_shift: float = 0.0
) -> TrainingData:
    """The tables a stored reference gives, scored by the model `reference`; or a copy of it.

    mismatched_shift is taken off each mismatched log-prob: KTO's z0 then is well above its clamp.
    """
    if method.needs.live:
        install(reference)
        return TrainingData(tokens, live=Live(copy.deepcopy(reference)))
    partners = mismatch(tokens.prompts, [len(r) for r in tokens.responses])
    data = TrainingData(tokens, partners=partners)
    rows = range(len(tokens))
    table = score_table(reference, [data.branches(row) for row in rows])
    if not method.needs.mismatched:
        return TrainingData(tokens, table if method.needs.reference else None)
    mismatched = score_table(reference, [data.mismatched_branches(row) for row in rows])
    return TrainingData(tokens, table, data.partners, shifted(mismatched, -mismatched_shift))


def shifted(table: ReferenceTable, by: float) -> ReferenceTable:
    return ReferenceTable(table.values + by, table.starts, table.first)


def make_trainer(
    folder: Path,
    method: Method,
    model: Any,
    data: TrainingData,
    *,
    plan: BatchPlan | None = None,
    batch_size: int = 6,
    epochs: float = 2,
    budget: int = 60,
    pad_id: int = 0,
    on_step: Callable[..., None] = lambda step, row, speed: None,
    log: Path | None = None,
    **changes: Any,
) -> Trainer:
    """As the align stage makes one. `model` starts where it is; the seed is fixed."""
    set_seed(0)
    plan = plan or plan_batches(len(data.tokens), batch_size, epochs, seed=0)
    settings = {"learning_rate": 1e-2, "seed": 0, "checkpoint_every": 1000}
    recipe = Recipe(**{**settings, **changes})
    scorer = Scorer(data, pad_id, budget, overhead=10)
    return Trainer(model, method, scorer, plan, recipe, folder, log=log, on_step=on_step)


def plain_descent(trainer: Trainer) -> Trainer:
    """Instead of Adam, which divides by the gradient's size and blows up rounding near zero."""
    trainer.optimiser = SGD(trainer.model.parameters(), lr=trainer.recipe.learning_rate)
    trainer.schedule = make_schedule(trainer.optimiser, trainer.recipe, len(trainer.plan))
    return trainer


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def one_step(
    folder: Path,
    method: Method,
    data: TrainingData,
    rows: Sequence[int],
    *,
    model: Any = None,
    **changes: Any,
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """(metrics row, gradients) of `rows` as one optimiser batch, away from the start."""
    model = model or moved(make_model())
    plan = BatchPlan((tuple(rows),))
    trainer = make_trainer(folder, method, model, data, plan=plan, **changes)
    return trainer.backward(plan.steps[0], step=8), gradients(trainer.model)
