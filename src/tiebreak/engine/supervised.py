"""Pretraining and SFT: the loop of `trainer.py` over rows with one response."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tiebreak.data.tokens import Tokens
from tiebreak.engine import processes
from tiebreak.engine.batches import BatchPlan, batches_of
from tiebreak.engine.checkpoints import set_seed
from tiebreak.engine.optimiser import Recipe
from tiebreak.engine.rows import Layout
from tiebreak.engine.scorer import Scorer, TrainingData
from tiebreak.engine.trainer import Trainer
from tiebreak.methods import Method, Needs, Pairs, Responses

_KEYS = {"pretrain": "model.pretraining", "instruct": "model.instruct_tuning", "sft": "train.sft"}


@dataclass(frozen=True)
class Settings:
    """recipe; rows per optimiser step, passes over the rows; positions per micro-batch and the
    price of one (see `batches.cut`); positions that meet the LM head at once."""

    recipe: Recipe
    batch_size: int
    epochs: float
    positions_per_cut: int
    cut_overhead: int = 0
    head_chunk: int = 256


@dataclass(frozen=True)
class PerToken(Method):
    """Negative log-likelihood of the answers, the mean over all answer tokens of the optimiser
    batch, as TRL's SFTTrainer takes it: a long answer weighs more than a short one."""

    name = "per-token"
    summary = "negative log-likelihood per token of the batch"
    needs = Needs(reference=False, unpaired=True)

    def loss(self, pairs: Pairs) -> Any:
        """(B,) losses whose mean over the optimiser batch is the mean over its tokens."""
        assert pairs.whole is not None
        lengths_B = pairs.whole.chosen.length()
        return -pairs.chosen.logp() * (len(lengths_B) / float(lengths_B.sum()))

    def reward(self, responses: Responses) -> Any:
        """(B,) mean log-prob."""
        return responses.mean_logp()


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
    tokenizer in `work`, and `log.jsonl` with the metrics of every step."""
    set_seed(settings.recipe.seed)
    trainer = Trainer(
        model, PerToken(), _scorer(prompts, answers, settings), _plan(len(answers), settings),
        settings.recipe, work / "checkpoints", log=work / "log.jsonl", what=what,
        head_chunk=settings.head_chunk, dropout=True, lost=f"Lower {_KEYS[what]}.learning_rate",
    )  # fmt: skip
    if trainer.resume():
        print(f"{what}: resumed from checkpoint-{trainer.done}", file=sys.stderr, flush=True)
    trainer.train()
    if processes.rank() == 0:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)


def _scorer(prompts: Sequence, answers: Sequence, settings: Settings) -> Scorer:
    """Each conversation is a row as the model itself reads it."""
    split = [(p, a) if p else (a[:1], a[1:]) for p, a in zip(prompts, answers, strict=True)]
    names = [str(i) for i in range(len(split))]
    tokens = Tokens(names, [list(p) for p, _ in split], [(list(a),) for _, a in split],
                    [True for _ in split])  # fmt: skip
    budget, overhead = settings.positions_per_cut, settings.cut_overhead
    return Scorer(TrainingData(tokens), 0, budget, overhead, Layout.SEPARATE)


def _plan(num_rows: int, settings: Settings) -> BatchPlan:
    """The order that accelerate's seeded sampler gives."""

    def order(epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(settings.recipe.seed + epoch)
        return torch.randperm(num_rows, generator=generator).tolist()

    return batches_of(order, num_rows, settings.batch_size, settings.epochs)
