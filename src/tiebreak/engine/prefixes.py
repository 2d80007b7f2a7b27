"""Log-probs of texts that share beginnings: every shared token goes through the network once.

Texts are sorted. As many as add up to `budget` new tokens make a pack, which is one forward: its
tokens are a tree, in which a token sees those before it on the path of its own text. What the next
pack's first text shares with the last text of this one stays in the key-value cache. So the
examples before all questions, and a question before all its choices, are computed once.

Shape legend: P new tokens of a pack, K cached tokens and these, N scored positions, M scored tokens
(several may be scored at one position), C a chunk of N, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tiebreak.engine.causal_lm import head_replaced, placed
from tiebreak.engine.head import chunks
from tiebreak.engine.masks import paths_apart
from tiebreak.engine.scoring import causal_lm_of, read_by_head


class Text(NamedTuple):
    """Token ids, and how many of the last are scored; at least one token stands before these."""

    ids: Sequence[int]
    scored: int


class TextScore(NamedTuple):
    """Sum of the log-probs (nats) of a text's scored tokens; whether each is the likeliest one."""

    logp: float
    greedy: bool


@dataclass
class Pack:
    """Texts of one forward. Indices of tokens count the cached ones first.

    texts     their numbers, in the order of the tree
    cached    how many tokens are in the cache from the pack before
    ids       of the new tokens (P)
    position  of each token in its text (K)
    first, last  the texts, by place in `texts`, that hold each token (K)
    paths     the tokens of each text
    kept      tokens that the next pack finds in the cache
    """

    texts: list[int]
    cached: int
    ids: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], shared: int) -> None:
        """The next text, which shares so many tokens with the one before it (or the cache)."""
        place = len(self.paths)
        before = self.paths[-1][:shared] if self.paths else list(range(shared))
        if not self.paths:
            self.position, self.first, self.last = list(range(shared)), [0] * shared, [0] * shared
        start, new = self.cached + len(self.ids), len(ids) - shared
        self.ids += ids[shared:]
        self.position += range(shared, len(ids))
        self.first += [place] * new
        self.last += [place] * new
        self.paths.append([*before, *range(start, start + new)])
        for token in before:
            self.last[token] = place


def packs(texts: Sequence[Text], budget: int) -> Iterator[Pack]:
    """Every text in one pack; a pack has at most `budget` new tokens, or one text."""
    read = [list(text.ids[:-1]) for text in texts]  # the last token predicts nothing
    order = sorted(range(len(texts)), key=read.__getitem__)
    common = [0, *(shared(read[a], read[b]) for a, b in zip(order, order[1:], strict=False)), 0]
    pack: Pack | None = None
    for place, number in enumerate(order):
        new = len(read[number]) - common[place]
        if pack is not None and new and len(pack.ids) + new > budget:
            pack.kept = pack.paths[-1][: common[place]]
            yield pack
            pack = None
        if pack is None:
            pack = Pack([], common[place])
        pack.texts.append(number)
        pack.add(read[number], common[place])
    if pack is not None:
        yield pack


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens with which both begin."""
    most = min(len(one), len(other))
    return next((at for at in range(most) if one[at] != other[at]), most)


class PrefixScorer:
    """Scores texts with a model that has the scoring call. positions: that went through it."""

    def __init__(self, model: Any, texts: Sequence[Text], budget: int, chunk: int = 256) -> None:
        self.texts, self.budget, self.chunk = texts, budget, chunk
        self.positions = 0
        self._causal_lm = causal_lm_of(model)
        self._device = next(model.parameters()).device

    def __iter__(self) -> Iterator[tuple[Pack, list[TextScore]]]:
        """Pack by pack, the scores of its texts."""
        cache, states_KD = None, None
        for pack in packs(self.texts, self.budget):
            with torch.no_grad():
                cache, states_KD = self._forward(pack, cache, states_KD)
                self.positions += len(pack.ids)
                scores = self._scores(pack, states_KD)
            kept = torch.tensor(pack.kept, dtype=torch.long, device=self._device)
            for layer in cache.layers:
                layer.keys, layer.values = layer.keys[:, :, kept], layer.values[:, :, kept]
            states_KD = states_KD[kept]
            yield pack, scores

    def _forward(self, pack: Pack, cache: Any, states_KD: Tensor | None) -> tuple[Any, Tensor]:
        """(cache of all tokens of the pack, what the LM head is given at each of them)."""
        from transformers import DynamicCache

        def tensor(values: list[int]) -> Tensor:
            return torch.tensor(values, device=self._device)

        position_1K, lm = tensor(pack.position)[None], self._causal_lm
        position_1P = position_1K[:, pack.cached :]
        seen = paths_apart(position_1K, tensor(pack.first), tensor(pack.last))
        places = placed(lm._learned_positions, position_1P)
        with seen, places, head_replaced(lm, lambda states: states[..., :1]) as given:
            out = lm._plain_forward(
                input_ids=tensor(pack.ids)[None], position_ids=position_1P, use_cache=True,
                attention_mask=torch.ones_like(position_1K),
                past_key_values=cache if pack.cached else DynamicCache(),
            )  # fmt: skip
        states_PD = given[0][0]
        before = [] if states_KD is None else [states_KD]
        return out.past_key_values, torch.cat([*before, states_PD])

    def _scores(self, pack: Pack, states_KD: Tensor) -> list[TextScore]:
        where: list[int] = []
        targets: list[int] = []
        for number, path in zip(pack.texts, pack.paths, strict=True):
            ids, scored = self.texts[number]
            where += path[len(path) - scored :]
            targets += ids[len(ids) - scored :]
        at_M = torch.tensor(where, device=self._device)
        logp_M, best_M = self._of_tokens(states_KD, at_M, torch.tensor(targets).to(at_M))
        counts = [self.texts[number].scored for number in pack.texts]
        return [
            TextScore(float(logp.double().sum()), bool(best.all()))
            for logp, best in zip(logp_M.split(counts), best_M.split(counts), strict=True)
        ]

    def _of_tokens(
        self, states_KD: Tensor, at_M: Tensor, targets_M: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(log-prob of each target after the token at its place, whether it is the likeliest)."""
        at_N, of_M = at_M.unique(return_inverse=True)
        with torch.autocast(self._device.type, enabled=False):
            hidden = read_by_head(self._causal_lm, states_KD[at_N])
            logp_M = torch.empty(len(at_M), device=self._device)
            best_M = torch.empty(len(at_M), dtype=torch.bool, device=self._device)
            for part, log_p_CV, _, _ in chunks(hidden, self.chunk):
                here = ((of_M >= part.start) & (of_M < part.stop)).nonzero()[:, 0]
                row, target = of_M[here] - part.start, targets_M[here]
                logp_M[here] = log_p_CV[row, target].float()
                best_M[here] = log_p_CV.argmax(-1)[row] == target
        return logp_M, best_M
