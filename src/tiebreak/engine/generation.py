"""Answers that a model writes, by a generation that is held against the model's own forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from tiebreak.engine.causal_lm import forget_lengths, growing_rotary
from tiebreak.engine.probe import FAILURES, TOLERANCE
from tiebreak.engine.scoring import causal_lm_of
from tiebreak.errors import UserError

CHECKED = 4  # tokens by which generation is compared with the model's own forward


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
    """One response per prompt, end token included when the model wrote one. temperature 0 decodes
    greedily; else samples from the whole distribution (no top-k or top-p). UserError where the
    library's generation does not give what the model's own forward does."""
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    # A checkpoint may ask for penalties and filters of its own; answers come from the model alone.
    model.generation_config = GenerationConfig()
    padded, cached = _way_to_generate(model, prompts, pad_id, max_new_tokens)
    torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    responses: dict[int, list[int]] = {}
    for part in _together(prompts, batch_size, padded):
        ids, mask = _left_padded([prompts[i] for i in part], pad_id)
        output = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=cached,
            max_new_tokens=max_new_tokens, eos_token_id=list(end_ids), pad_token_id=pad_id,
            **(sampling if temperature > 0 else {"do_sample": False}),
        )  # fmt: skip
        found = output[:, ids.shape[1] :].tolist()
        responses |= {i: _until_end(row, end_ids) for i, row in zip(part, found, strict=True)}
        progress(len(part))
    return [responses[i] for i in range(len(prompts))]


def _together(prompts: Sequence[Sequence[int]], size: int, padded: bool) -> Iterator[list[int]]:
    """Numbers of the prompts of each batch; unless they may be padded, of one length."""
    length = (lambda i: 0) if padded else (lambda i: len(prompts[i]))
    for _, group in groupby(sorted(range(len(prompts)), key=length), length):
        numbers = list(group)
        yield from (numbers[at : at + size] for at in range(0, len(numbers), size))


def _way_to_generate(
    model: Any, prompts: Sequence[Sequence[int]], pad_id: int, max_new_tokens: int
) -> tuple[bool, bool]:
    """(prompts of several lengths at once, with a cache): the fastest that gives the log-probs of
    the model's own forward, on the shortest and the longest prompt."""
    by_length = sorted(prompts, key=len)
    pair = [by_length[0], *([by_length[-1]] if len(by_length[-1]) > len(by_length[0]) else [])]
    growing = growing_rotary(causal_lm_of(model))
    steps = max_new_tokens if growing else min(CHECKED, max_new_tokens)
    why: list[str] = []
    for padded, cached in ((True, True), (False, True), (False, False)):
        parts = [pair] if padded else [[one] for one in pair]
        try:
            off = max(_generation_off(model, part, pad_id, steps, cached) for part in parts)
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            why.append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            continue
        if off <= TOLERANCE:
            return padded, cached
        why.append(f"{off:.2g} nats off")
    raise UserError(
        f"model {causal_lm_of(model).config.model_type!r} cannot generate: what the library's "
        f"generation gives is not what its forward gives (in a batch: {why[0]}; one prompt: "
        f"{why[1]}; without a cache: {why[2]}); use another model, or "
        "evaluation.evaluators=[pairs], which generates nothing"
    )


def _generation_off(
    model: Any, prompts: Sequence[Sequence[int]], pad_id: int, steps: int, cached: bool
) -> float:
    """Largest difference in nats between log-probs in generation and in plain forwards."""
    device, causal_lm = next(model.parameters()).device, causal_lm_of(model)
    ids, mask = _left_padded(prompts, pad_id)
    worst = 0.0
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        out = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=cached,
            max_new_tokens=steps, do_sample=False, pad_token_id=pad_id,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        for i, prompt in enumerate(prompts):
            whole = out.sequences[i : i + 1, ids.shape[1] - len(prompt) : -1]
            forget_lengths(growing_rotary(causal_lm))
            own = model(input_ids=whole, use_cache=False).logits
            found_TV = torch.stack([step[i] for step in out.logits])
            tokens_T1 = out.sequences[i, ids.shape[1] :, None]
            own_T, found_T = (logits_TV.float().log_softmax(-1).gather(1, tokens_T1)
                              for logits_TV in (own[0, len(prompt) - 1 :], found_TV))  # fmt: skip
            broken_T = own_T.isnan() & found_T.isnan()  # by its weights, not by how it generates
            apart_T = (own_T - found_T).abs().masked_fill(broken_T, 0.0)
            worst = max(worst, float(apart_T.nan_to_num(torch.inf).max()))
    return worst


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def _until_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    ends = (place for place, token in enumerate(ids, start=1) if token in end_ids)
    return ids[: next(ends, len(ids))]
