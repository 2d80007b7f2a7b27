"""What scoring has to know of a causal LM beside its forward, asked of the model itself.

What a model does to its logits (scale, soft cap, cut) is measured: its LM head is made to give a
ladder of known numbers, and what comes out of the model is compared with them. No names of models
or of settings are listed anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tiebreak.errors import UserError

SMALL, LARGE = 2.0**-20, 2.0**20  # logits at which a soft cap does nothing, and everything


@dataclass(frozen=True)
class AfterHead:
    """logits = cap * tanh(scale * (head's output) / cap), of the first `vocabulary` tokens; without
    a cap, scale * (head's output)."""

    vocabulary: int
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits_V: Tensor) -> Tensor:
        scaled_V = logits_V[: self.vocabulary] * self.scale
        return scaled_V if self.cap is None else self.cap * torch.tanh(scaled_V / self.cap)


def after_head(causal_lm: Any) -> AfterHead:
    """What the model does to its head's output. UserError where it is none of the above."""
    head, device = lm_head(causal_lm), next(causal_lm.parameters()).device
    ladder_V = torch.linspace(-60, 60, head.weight.shape[0], device=device)
    ladder_V[:4] = torch.tensor([SMALL, -SMALL, LARGE, -LARGE], device=device)
    ids = torch.zeros((1, 2), dtype=torch.long, device=device)
    with torch.no_grad(), in_eval(causal_lm), head_replaced(
        causal_lm, lambda states: ladder_V.expand(*states.shape[:-1], -1)
    ) as given:  # fmt: skip
        out = plain_forward(causal_lm)(input_ids=ids, use_cache=False)
    logits_V = out.logits[0, -1].float()
    scale, most = float(logits_V[0]) / SMALL, float(logits_V[2])
    cap = None if abs(most) >= 0.5 * LARGE * abs(scale) else most
    found = AfterHead(len(logits_V), 1.0 if abs(scale - 1) < 1e-6 else scale, cap)
    if not given or not torch.allclose(found(ladder_V), logits_V, rtol=1e-5, atol=1e-6):
        raise UserError(
            f"model {causal_lm.config.model_type!r} does something to its logits that scoring does "
            "not know (it knows a scale and a soft cap); use another model"
        )
    return found


@contextmanager
def in_eval(causal_lm: Any) -> Generator[None]:
    """The model in eval mode; afterwards each module is in the mode it was in."""
    modes = [(module, module.training) for module in causal_lm.modules()]
    causal_lm.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def lm_head(causal_lm: Any) -> nn.Linear:
    """The head that the model names, or its only linear layer as wide as the vocabulary. UserError
    where there is none."""
    head = causal_lm.get_output_embeddings()
    if isinstance(head, nn.Linear):
        return head
    words = causal_lm.get_input_embeddings().weight.shape[0]
    wide = [module for module in causal_lm.modules()
            if isinstance(module, nn.Linear) and module.out_features == words]  # fmt: skip
    if len(wide) != 1:
        raise UserError(
            f"model {causal_lm.config.model_type!r} has an LM head of type {type(head).__name__}, "
            "which scoring does not support; use a model with a plain linear head, and leave "
            "lm_head out of the adapter's targets"
        )
    return wide[0]


def plain_forward(causal_lm: Any) -> Callable[..., Any]:
    """The model's own forward, also after `scoring.install`."""
    return vars(causal_lm).get("_plain_forward", causal_lm.forward)


@contextmanager
def head_replaced(causal_lm: Any, output: Callable[[Tensor], Tensor]) -> Generator[list[Tensor]]:
    """While it lasts the LM head gives `output(its input)`; yields the list of its inputs."""
    head: Any = lm_head(causal_lm)
    given: list[Tensor] = []

    def forward(states: Tensor) -> Tensor:
        given.append(states)
        return output(states)

    head.forward = forward
    try:
        yield given
    finally:
        del head.forward


@dataclass(frozen=True)
class Places:
    """A table of positions from which a model takes row start + i at place i. fixed: the model
    never trains it (a table of sines)."""

    table: nn.Embedding
    start: int
    fixed: bool

    def at(self, position_RL: Tensor) -> Tensor:
        weight = self.table.weight.detach() if self.fixed else self.table.weight
        return nn.functional.embedding(position_RL + self.start, weight)


def learned_positions(causal_lm: Any) -> list[Places]:
    """The tables that the model looks up by place, as its own forward of four tokens shows."""
    found: list[Places] = []
    ids = torch.arange(4, 8, device=next(causal_lm.parameters()).device)[None]

    def note(table: nn.Embedding, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        taken = output.detach().reshape(-1, output.shape[-1])[: ids.shape[1]]
        if taken.shape[1] != table.weight.shape[1]:
            return
        for start in (table.weight == taken[0]).all(1).nonzero()[:, 0].tolist():
            if torch.equal(table.weight[start : start + len(taken)], taken):
                found.append(Places(table, start, not output.requires_grad))
                return

    words = causal_lm.get_input_embeddings()
    hooks = [module.register_forward_hook(note) for module in causal_lm.modules()
             if isinstance(module, nn.Embedding) and module is not words]  # fmt: skip
    with torch.enable_grad(), in_eval(causal_lm):
        if hooks:
            plain_forward(causal_lm)(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    return found


@contextmanager
def placed(tables: list[Places], position_RL: Tensor) -> Generator[None]:
    """While it lasts the tables give the rows of these positions, whatever they are asked for."""
    for one in tables:
        vars(one.table)["forward"] = lambda *args, one=one, **kwargs: one.at(position_RL)
    try:
        yield
    finally:
        for one in tables:
            del vars(one.table)["forward"]


def growing_rotary(causal_lm: Any) -> list[tuple[nn.Module, str]]:
    """(module, prefix of its names) of rotary positions that depend on how long a row is."""
    rotary = [module for module in causal_lm.modules() if _grows(module)]
    return [(module, name.removesuffix("max_seq_len_cached")) for module in rotary
            for name in vars(module) if name.endswith("max_seq_len_cached")]  # fmt: skip


def _grows(rotary: nn.Module) -> bool:
    kinds = getattr(rotary, "rope_type", "")  # of layers of several types: one each
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind == "longrope" or "dynamic" in kind for kind in kinds)


def forget_lengths(growing: list[tuple[nn.Module, str]]) -> None:
    """Put them back to where they began, so that a row is scored as if it were the first."""
    for module, prefix in growing:
        original: Any = module.original_max_seq_len
        if getattr(module, f"{prefix}max_seq_len_cached") > original:
            setattr(module, f"{prefix}max_seq_len_cached", original)
            inv_freq: Any = getattr(module, f"{prefix}original_inv_freq")
            setattr(module, f"{prefix}inv_freq", inv_freq.clone())
