"""Answers to prompts, as token ids, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    end_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    seed: int,
    progress: Callable[[int], object] = lambda done: None,
) -> list[list[int]]:
    """One response per prompt, end token included when the model wrote one.

    temperature 0 decodes greedily; else samples from the whole distribution (no top-k or top-p).
    """
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    # A checkpoint may ask for penalties and filters of its own; answers come from the model alone.
    model.generation_config = GenerationConfig()
    torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    responses: list[list[int]] = []
    for at in range(0, len(prompts), batch_size):
        part = prompts[at : at + batch_size]
        ids, mask = _left_padded(part, pad_id)
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens,
            eos_token_id=list(end_ids),
            pad_token_id=pad_id,
            **(sampling if temperature > 0 else {"do_sample": False}),
        )
        responses += [_until_end(row, end_ids) for row in output[:, ids.shape[1] :].tolist()]
        progress(len(part))
    return responses


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def _until_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in end_ids:
            return ids[: place + 1]
    return ids
