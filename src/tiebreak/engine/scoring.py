"""Score rows with a causal language model: only scored positions meet the LM head. `install`
teaches a model one more way to be called, `model(rows=...)`, so that wrappers which act in
`forward` (DDP's gradient hooks, PEFT, autocast) see the call like any other."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tiebreak.engine.head import Hidden, TokenScores, token_scores
from tiebreak.engine.rows import Rows
from tiebreak.errors import UserError

# What models do to logits after the head, with the value that does nothing.
_PLAIN_LOGITS = {
    "final_logit_softcapping": 0.0,
    "logit_scale": 1.0,
    "logits_scaling": 1.0,
    "lm_head_multiplier": 1.0,
}


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
    """Give the causal LM inside `model` (PEFT or not) the scoring call; doing it twice is fine."""
    causal_lm = model.get_base_model() if hasattr(model, "peft_config") else model
    _check_head(causal_lm)
    if "_plain_forward" in causal_lm.__dict__:
        return
    plain = causal_lm.forward

    def forward(
        self: Any, *args: Any, rows: Rows | None = None, ask: Ask | None = None, **kwargs: Any
    ) -> Any:
        if rows is None:
            return plain(*args, **kwargs)
        _check_window(self.config, rows)
        hidden, ask = _hidden(self, rows), ask or Ask()
        if ask.hidden:
            return hidden
        with torch.autocast(hidden.states_ND.device.type, enabled=False):
            return token_scores(
                hidden, rows.targets, chunk, collision=ask.collision, reference=ask.against
            )

    causal_lm._plain_forward = plain
    causal_lm.forward = types.MethodType(forward, causal_lm)


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
    states_RLD = causal_lm.base_model(
        input_ids=rows.input_ids,
        attention_mask=rows.attention_mask,
        position_ids=rows.position_ids,
        use_cache=False,
    ).last_hidden_state
    states_ND, weight_VD = states_RLD[rows.scored], causal_lm.get_output_embeddings().weight
    device = states_ND.device.type
    mixed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if mixed else states_ND.dtype
    return Hidden(states_ND.to(dtype), weight_VD.to(dtype))


def pad(values: list[Tensor]) -> tuple[Tensor, Tensor]:
    """1-D tensors -> (values (B, T) padded with 0, mask (B, T))."""
    lengths_B = torch.tensor([len(v) for v in values], device=values[0].device)
    values_BT = pad_sequence(values, batch_first=True)
    positions_T = torch.arange(values_BT.shape[1], device=values_BT.device)
    return values_BT, positions_T[None] < lengths_B[:, None]


def disable_dropout(model: nn.Module) -> None:
    """A dropped unit makes policy and reference differ at equal weights. Attention dropout is a
    number on the attention module (`attention_dropout`), not a module."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _check_head(causal_lm: Any) -> None:
    head, config = causal_lm.get_output_embeddings(), causal_lm.config
    odd = [k for k, plain in _PLAIN_LOGITS.items() if getattr(config, k, None) not in (None, plain)]
    if odd or type(head) is not nn.Linear or head.bias is not None:
        what = f"config.{odd[0]}" if odd else f"an LM head of type {type(head).__name__}"
        raise UserError(
            f"model {config.model_type!r} has {what}, which scoring does not support; "
            "use a model with a plain linear head, and leave lm_head out of the adapter's targets"
        )


def _check_window(config: Any, rows: Rows) -> None:
    """Our mask shows a position its whole past; a sliding window would hide some of it."""
    window = getattr(config, "sliding_window", None)
    if window is None or rows.input_ids.shape[1] <= window:
        return
    longest = int(rows.position_ids.max()) + 1
    if longest > window:
        raise UserError(
            f"a prompt with its response takes {longest} positions and model "
            f"{config.model_type!r} attends to the last {window} only, which scoring does not "
            f"support; give data.max_length={window} or less"
        )
