"""Answers that a model writes, by a generation that is held against the model's own forward.

Shape legend: B prompts of a batch, L its columns (padded on the left), H tokens of a header, C
columns that the cache already has, N heads, D their size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from tiebreak.engine.causal_lm import (
    forget_lengths,
    growing_rotary,
    head_replaced,
    plain_forward,
)
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
    items: Sequence[str] | None = None,
    each: Callable[[dict[int, list[int]]], object] = lambda found: None,
) -> list[list[int]]:
    """One response per prompt, end token included when the model wrote one. temperature 0 decodes
    greedily; else samples from the whole distribution (no top-k or top-p). items: a name for each
    prompt, which samples by numbers of its own (`ItemDraws`), so that its response depends on no
    other prompt; None: all sample from one stream, and a response depends on the batches before and
    around it. each: called with the responses of a batch, by place. UserError where the library's
    generation does not give what the model's own forward does."""
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    # A checkpoint may ask for penalties and filters of its own; answers come from the model alone.
    model.generation_config = GenerationConfig()
    padded, cached = _way_to_generate(model, prompts, pad_id, max_new_tokens)
    torch.manual_seed(seed)
    responses: dict[int, list[int]] = {}
    for part in _together(prompts, batch_size, padded):
        ids, mask = _left_padded([prompts[i] for i in part], pad_id)
        names = None if items is None else [items[i] for i in part]
        output = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=cached,
            max_new_tokens=max_new_tokens, eos_token_id=list(end_ids), pad_token_id=pad_id,
            **_decoding(temperature, names, seed, ids.shape[1]),
        )  # fmt: skip
        found = output[:, ids.shape[1] :].tolist()
        done = {i: _until_end(row, end_ids) for i, row in zip(part, found, strict=True)}
        responses |= done
        each(done)
    return [responses[i] for i in range(len(prompts))]


def _decoding(
    temperature: float, names: Sequence[str] | None, seed: int, start: int
) -> dict[str, Any]:
    """Arguments of the library's generation. names: of the rows, whose own numbers are in place of
    its one stream; start: length of the prompts."""
    from transformers import LogitsProcessorList

    if temperature == 0:
        return {"do_sample": False}
    if names is None:
        return {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    draws: Any = ItemDraws(names, seed, temperature, start)
    return {"do_sample": False, "logits_processor": LogitsProcessorList([draws])}


class ItemDraws:
    """Sampling as a processor of logits under greedy decoding: leaves one token per row.

    A uniform number that belongs to (seed, item, step) picks the token by the inverse of the
    distribution's cumulative sum, in double precision: exact sampling at a temperature above 0, and
    the number knows nothing of the batch. Where logits of another batch are rounded in another way,
    a token changes if its number lies that close to a border between two tokens.
    """

    def __init__(self, items: Sequence[str], seed: int, temperature: float, start: int) -> None:
        """items: of each row. start: length of the prompts, after which step 0 is drawn."""
        self._items, self._seed, self._temperature, self._start = items, seed, temperature, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores (B, V): logits. Returns (B, V): 0 at the token that was drawn, else -inf."""
        step = input_ids.shape[1] - self._start
        draws = [[uniform(self._seed, item, step)] for item in self._items]
        total_BV = (scores.double() / self._temperature).softmax(-1).cumsum(-1)
        if not total_BV.isfinite().all():
            raise UserError(
                "the model gives log-probs that are not finite (NaN), and nothing can be sampled "
                "from them; its weights are damaged, or were trained to be: look at its loss"
            )
        place_B1 = torch.tensor(draws, dtype=torch.float64).to(total_BV.device) * total_BV[:, -1:]
        token_B1 = torch.searchsorted(total_BV, place_B1, right=True)
        return torch.full_like(scores, -torch.inf).scatter(1, token_B1, 0.0)


def uniform(seed: int, item: str, step: int) -> float:
    """A number from [0, 1) that belongs to these three: the first 52 bits of a SHA-256 of them. Of
    that many, its product with a sum of probabilities is below that sum after rounding."""
    digest = hashlib.sha256(f"{seed} {step} {item}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 12) / 2**52


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


class Header:
    """Tokens with which prompts begin, once through the network, in a key-value cache from which
    every batch of these prompts starts. ValueError: the model's cache cannot be shared so."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        from transformers import DynamicCache

        self._config = causal_lm_of(model).config
        cache: Any = DynamicCache(config=self._config)
        _refuse_cache(causal_lm_of(model), cache)
        self.ids_H = torch.tensor(list(ids), device=next(model.parameters()).device)
        with torch.no_grad(), head_replaced(causal_lm_of(model), lambda states: states[..., :1]):
            plain_forward(causal_lm_of(model))(
                input_ids=self.ids_H[None], attention_mask=torch.ones_like(self.ids_H[None]),
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
        self._layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]

    def cached(self, ids_BL: Tensor, mask_BL: Tensor) -> int:
        """How many columns of a batch padded on the left the cache can have: those of the header
        without padding before it, 0 where a prompt begins otherwise."""
        columns = min(len(self.ids_H), ids_BL.shape[1] - 1)
        place_BC = self._places(mask_BL, columns)
        alike_BC = (ids_BL[:, :columns] == self.ids_H[place_BC.clamp(min=0)]) | (place_BC < 0)
        return columns if bool(alike_BC.all()) else 0

    def cache(self, mask_BL: Tensor, columns: int) -> Any:
        """The cache of a batch's first columns, as its own forward would have left it; a column of
        padding, which nothing looks at, is zero."""
        from transformers import DynamicCache

        place_BC = self._places(mask_BL, columns)
        there_BC11 = (place_BC >= 0)[:, None, :, None]
        cache = DynamicCache(config=self._config)
        for number, both in enumerate(self._layers):
            keys, values = (
                part_NHD[:, place_BC.clamp(min=0)].transpose(0, 1) * there_BC11 for part_NHD in both
            )
            cache.update(keys, values, number)
        return cache

    def _places(self, mask_BL: Tensor, columns: int) -> Tensor:
        """(B, C) which token of the header stands in each column; negative: padding."""
        pads_B1 = (mask_BL == 0).sum(1, keepdim=True)
        return torch.arange(columns, device=mask_BL.device)[None] - pads_B1


def _refuse_cache(causal_lm: Any, cache: Any) -> None:
    from transformers.cache_utils import DynamicLayer

    kinds = {type(layer).__name__ for layer in cache.layers if type(layer) is not DynamicLayer}
    if kinds:
        raise ValueError(f"the model's cache is of other kinds too ({', '.join(sorted(kinds))})")
    if growing_rotary(causal_lm):
        raise ValueError("the model's positions depend on how long a text is")


def header_off(
    model: Any, prompts: Sequence[Sequence[int]], header: Sequence[int], pad_id: int
) -> float:
    """Largest difference in nats between log-probs in generation from a `Header` and in plain
    forwards, on the shortest and the longest prompt."""
    by_length = sorted(prompts, key=len)
    return _generation_off(model, [by_length[0], by_length[-1]], pad_id, CHECKED, True, header)


def _generation_off(
    model: Any,
    prompts: Sequence[Sequence[int]],
    pad_id: int,
    steps: int,
    cached: bool,
    header: Sequence[int] = (),
) -> float:
    """Largest difference in nats between log-probs in generation and in plain forwards."""
    device, causal_lm = next(model.parameters()).device, causal_lm_of(model)
    ids, mask = (one.to(device) for one in _left_padded(prompts, pad_id))
    worst, begun = 0.0, {}
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        if header:
            shared = Header(model, header)
            begun = {"past_key_values": shared.cache(mask, shared.cached(ids, mask))}
        out = model.generate(
            input_ids=ids, attention_mask=mask, use_cache=cached, **begun,
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
