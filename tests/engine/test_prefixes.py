"""Texts that share beginnings: the model's own log-probs, and every shared token once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny import make_model
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, MistralConfig

from tiebreak.engine.prefixes import PrefixScorer, Text, packs
from tiebreak.engine.scoring import install

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
MODELS = {
    "llama": make_model,
    "learned positions": lambda: _random(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64)),
    "sliding window": lambda: _random(MistralConfig(**SMALL, sliding_window=5)),
    "soft caps": lambda: _random(Gemma2Config(**SMALL, head_dim=8, sliding_window=6)),
}


def _random(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def texts(vocabulary: int, seed: int = 0) -> list[Text]:
    """Two sets of questions with examples before them, their choices, a text alone, one twice."""
    draw = random.Random(seed)

    def some(least: int, most: int) -> list[int]:
        return [draw.randrange(vocabulary) for _ in range(draw.randint(least, most))]

    found = [Text(some(5, 9), 2)]
    for _ in range(2):
        header = some(12, 20)
        for _ in range(6):
            stem = [*header, *some(1, 8)]
            answers = [some(1, 5) for _ in range(draw.randint(1, 4))]
            found += [Text([*stem, *answer], len(answer)) for answer in answers]
    return [*found, found[3]]


def unique_tokens(asked: Sequence[Text]) -> int:
    return len({tuple(t.ids[:n]) for t in asked for n in range(1, len(t.ids))})


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("budget", [1, 30, 1000])
def test_scores_are_the_models_own(kind: str, budget: int) -> None:
    model = MODELS[kind]().eval()
    asked = texts(model.config.vocab_size)
    install(model)
    scorer = PrefixScorer(model, asked, budget, chunk=7)
    found = {n: score for pack, scores in scorer
             for n, score in zip(pack.texts, scores, strict=True)}  # fmt: skip
    assert sorted(found) == list(range(len(asked)))
    assert scorer.positions == unique_tokens(asked)
    for number, text in enumerate(asked):
        ids = torch.tensor([list(text.ids)])
        with torch.no_grad():
            logits_TV = model(input_ids=ids, use_cache=False).logits[0, -text.scored - 1 : -1]
        logp_TV, scored_T = logits_TV.double().log_softmax(-1), ids[0, -text.scored :]
        own = float(logp_TV.gather(1, scored_T[:, None]).sum())
        assert abs(found[number].logp - own) < 1e-4 * text.scored
        assert found[number].greedy == bool((logp_TV.argmax(-1) == scored_T).all())


def test_a_pack_has_no_more_new_tokens_than_asked_for_but_for_one_text() -> None:
    asked = texts(50, seed=1)
    for pack in packs(asked, 25):
        assert len(pack.ids) <= 25 or len(pack.texts) == 1
        assert len(pack.position) == len(pack.first) == len(pack.last)
        assert len(pack.position) == pack.cached + len(pack.ids)
    assert [p.texts for p in packs([], 25)] == []
