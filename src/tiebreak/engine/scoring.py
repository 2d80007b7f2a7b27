"""Score rows with a causal language model: only scored positions meet the LM head. `install`
teaches a model one more way to be called, `model(rows=...)`, so that what acts in a call (PEFT,
hooks) sees this one like any other."""

from __future__ import annotations

import functools
import types
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tiebreak.engine.causal_lm import (
    after_head,
    forget_lengths,
    growing_rotary,
    head_replaced,
    learned_positions,
    lm_head,
    placed,
)
from tiebreak.engine.head import Hidden, TokenScores, token_scores
from tiebreak.engine.masks import branches_apart
from tiebreak.engine.rows import Layout, Rows


@dataclass(frozen=True)
class Scores:
    """Per response, in reading order (a prompt asked for stands before its responses): log-prob of
    each token, the policy's entropy there, and what else was asked for."""

    logp: list[Tensor]
    entropy: list[Tensor]
    collision: list[Tensor] | None = None
    forward_kl: list[Tensor] | None = None
    reference: list[Tensor] | None = None


def install(model: Any, chunk: int = 256) -> None:
    """Give the causal LM inside `model` (PEFT or not) the scoring call; doing it twice is fine.
    UserError where its head is none that scoring can follow."""
    causal_lm = causal_lm_of(model)
    if "_plain_forward" in causal_lm.__dict__:
        return
    plain, causal_lm._after_head = causal_lm.forward, after_head(causal_lm)

    @functools.wraps(type(causal_lm).forward)  # generation asks for its signature
    def forward(
        self: Any, *args: Any, rows: Rows | None = None, ask: Ask | None = None, **kwargs: Any
    ) -> Any:
        if rows is None:
            return self._plain_forward(*args, **kwargs)
        hidden, ask = _hidden(self, rows), ask or Ask()
        if ask.hidden:
            return hidden
        with torch.autocast(hidden.states_ND.device.type, enabled=False):
            return token_scores(
                hidden, rows.targets, chunk, collision=ask.collision, reference=ask.against
            )

    causal_lm._growing_rotary = growing_rotary(causal_lm)
    causal_lm._learned_positions = learned_positions(causal_lm)
    causal_lm._plain_forward = plain
    causal_lm._scoring_forward = causal_lm.forward = types.MethodType(forward, causal_lm)


def causal_lm_of(model: Any) -> Any:
    """The causal LM itself, without PEFT around it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


@dataclass(frozen=True)
class Ask:
    """What a scoring call gives beside log-probs and entropy. collision: statistics of the policy's
    distribution. against: a reference's hidden states, for its log-probs and the divergence from
    it. hidden: the hidden states, and nothing else."""

    collision: bool = False
    against: Hidden | None = None
    hidden: bool = False


def score(model: Any, rows: Rows, ask: Ask | None = None) -> Scores:
    """Forward `rows`, already on the model's device. Gradients flow when enabled."""
    found: TokenScores = model(rows=rows, ask=ask)
    asked = {name: part for name, part in found._asdict().items() if part is not None}
    return Scores(**{name: rows.split(part) for name, part in asked.items()})


def hidden_states(model: Any, rows: Rows) -> Hidden:
    """What `Ask.against` takes, from the reference model."""
    return model(rows=rows, ask=Ask(hidden=True))


def _hidden(causal_lm: Any, rows: Rows) -> Hidden:
    return read_by_head(causal_lm, _scored_states(causal_lm, rows))


def read_by_head(causal_lm: Any, states_ND: Tensor) -> Hidden:
    """What the model's LM head is given, with that head and what the model does after it."""
    head, after = lm_head(causal_lm), causal_lm._after_head
    weight_VD = head.weight[: after.vocabulary]
    if head.bias is not None:  # as one more input that is always 1
        weight_VD = torch.cat([weight_VD, head.bias[: after.vocabulary, None]], dim=1)
        states_ND = torch.cat([states_ND, states_ND.new_ones(len(states_ND), 1)], dim=1)
    device = states_ND.device.type
    mixed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if mixed else states_ND.dtype
    scaled_ND = states_ND if after.scale == 1 else states_ND * after.scale
    return Hidden(scaled_ND.to(dtype), weight_VD.to(dtype), after.cap)


def _scored_states(causal_lm: Any, rows: Rows) -> Tensor:
    """(N, D): what the LM head is given where a token is scored, in reading order."""
    if len(rows.forwards) == 1:
        return _states(causal_lm, rows)[rows.scored]
    of_row: dict[int, Tensor] = {}
    for numbers in rows.forwards:
        part = rows.part(numbers)
        states_ND = _states(causal_lm, part)[part.scored]
        of_row |= zip(numbers, states_ND.split(part.scored.sum(1).tolist()), strict=True)
    return torch.cat([of_row[i] for i in range(len(of_row))])


def _states(causal_lm: Any, rows: Rows) -> Tensor:
    """(R, L, D): what the LM head is given at each position."""
    forget_lengths(causal_lm._growing_rotary)
    apart: AbstractContextManager[None] = nullcontext()
    places: AbstractContextManager[None] = nullcontext()
    more: dict[str, Tensor] = {}
    if rows.layout is Layout.SHARED:
        # Without a 2-D mask, transformers takes positions that start again for another document.
        more["attention_mask"] = torch.ones_like(rows.input_ids)
        more["position_ids"] = rows.position_ids
        apart = branches_apart(rows.position_ids, rows.branch)
        places = placed(causal_lm._learned_positions, rows.position_ids)
    elif rows.layout is Layout.SEPARATE:
        more["attention_mask"] = (rows.branch >= 0).long()
    with apart, places, head_replaced(causal_lm, lambda states: states[..., :1]) as given:
        causal_lm._plain_forward(input_ids=rows.input_ids, use_cache=False, **more)
    return given[0]


def pad(values: list[Tensor]) -> tuple[Tensor, Tensor]:
    """1-D tensors -> (values (B, T) padded with 0, mask (B, T))."""
    lengths_B = torch.tensor([len(v) for v in values], device=values[0].device)
    values_BT = pad_sequence(values, batch_first=True)
    positions_T = torch.arange(values_BT.shape[1], device=values_BT.device)
    return values_BT, positions_T[None] < lengths_B[:, None]


def disable_noise(model: nn.Module) -> None:
    """Dropout, of layers too, and a router's noise make policy and reference differ at equal
    weights. Most dropout is a number on a module (`attention_dropout`), no module. A router that
    has a number for its noise stays in eval mode: Phi-MoE routes by that number there too."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if ("dropout" in name or "layerdrop" in name) and isinstance(value, float):
                setattr(module, name, 0.0)
            if "jitter" in name and isinstance(value, float):
                module.train = types.MethodType(_stay_in_eval, module)
                module.eval()


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(module, False)
