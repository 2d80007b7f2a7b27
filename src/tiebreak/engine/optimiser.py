"""How weights are moved: settings, optimiser, learning rate over the steps. The numbers are those
of `transformers.Trainer` 5.23 with its defaults; `tests/engine/test_optimiser.py` compares them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

# In the name of a parameter: it is no weight of a map, and does not decay.
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(^|\.)norm($|\.)|_norm($|\.)")


@dataclass(frozen=True)
class Recipe:
    """learning_rate: the peak, after warmup_share of the steps. max_grad_norm: where the gradient
    is clipped; 0: nowhere. precision: "float32", or "bfloat16" for mixed precision over float32
    weights. gradient_checkpointing: activations are computed again, not kept."""

    learning_rate: float
    seed: int
    schedule: str = "linear"
    warmup_share: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optimiser: str = "adamw"
    adam_beta2: float = 0.999
    precision: str = "float32"
    checkpoint_every: int = 100
    gradient_checkpointing: bool = False


def make_optimiser(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Of what `model` trains. Biases and norms do not decay. RMSprop has PyTorch's defaults, as in
    the code of DPO, TDPO and SPIN; decay is a part of its gradient."""
    norms = {f"{name}." for name, part in model.named_modules() if isinstance(part, nn.LayerNorm)}
    decays: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_norm = name.rpartition(".")[0] + "." in norms
            plain = of_norm or _NO_DECAY.search(name.lower())
            (others if plain else decays).append(parameter)
    groups = [{"params": decays, "weight_decay": recipe.weight_decay},
              {"params": others, "weight_decay": 0.0}]  # fmt: skip
    if recipe.optimiser == "rmsprop":
        return RMSprop(groups, lr=recipe.learning_rate)
    betas = (0.9, recipe.adam_beta2)
    return AdamW(groups, lr=recipe.learning_rate, betas=betas, eps=1e-8, fused=True)


def make_schedule(optimiser: Optimizer, recipe: Recipe, steps: int) -> LambdaLR:
    """The learning rate of each of `steps` updates."""
    warmup, decay = math.ceil(steps * recipe.warmup_share), SCHEDULES[recipe.schedule]
    return LambdaLR(optimiser, functools.partial(_share, steps, warmup, decay))


def _share(steps: int, warmup: int, decay: Callable[[int, int], float], step: int) -> float:
    """Of the peak."""
    if step < warmup:
        return step / warmup
    return max(0.0, decay(step - warmup, max(1, steps - warmup)))


# Steps since the warm-up, and how many those are in all -> the share of the peak.
SCHEDULES: Mapping[str, Callable[[int, int], float]] = {
    "linear": lambda done, steps: (steps - done) / steps,
    "cosine": lambda done, steps: 0.5 * (1 + math.cos(math.pi * (done / steps))),
    "constant": lambda done, steps: 1.0,
}
