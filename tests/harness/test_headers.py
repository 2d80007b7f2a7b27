"""Answers after a shared beginning: lm-eval's own, token by token, and the beginning goes once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tiny import VOCAB, make_model
from transformers import MistralConfig, MistralForCausalLM

from tiebreak.engine.generation import Header
from tiebreak.errors import UserError
from tiebreak.harness.ask import quietly
from tiebreak.harness.model import PrefixLM
from tiebreak.kept_answers import KeptAnswers

HEADER = "These are examples. Q: one and one? A: two. Q: two and two? A: four.\n"
QUESTIONS = ("Q: a?", "Q: what is one and two? A:", "Q:", "What", f"{'so ' * 40}Q: this?", "Q: b?")
Tokens = dict[tuple[int, ...], list[int]]


def asked(header: str = HEADER, most: int = 9, task: str = "sums") -> list[Instance]:
    how = {"until": ["\n\n"], "max_gen_toks": most, "do_sample": False}
    return [Instance("generate_until", {}, (header + question, how), 0, (task, number, 1))
            for number, question in enumerate(QUESTIONS)]  # fmt: skip


def answers(lm: HFLM, requests: list[Instance]) -> tuple[list[str], Tokens]:
    """What is written, and the tokens of it by those of the prompt."""
    own, tokens = lm._model_generate, {}

    def noted(context: Any, *given: Any, **more: Any) -> torch.Tensor:
        found = own(context, *given, **more)
        for row, mask in zip(found.tolist(), more["attention_mask"].tolist(), strict=True):
            tokens[tuple(row[len(mask) - sum(mask) : len(mask)])] = row[len(mask) :]
        return found

    lm._model_generate = noted
    with quietly():
        return lm.generate_until(requests), tokens


def both(model: Any, tokenizer: Any, folder: Path, size: int = 3, **how: Any) -> PrefixLM:
    """Ours, after its answers were compared with those of lm-eval's class."""
    with quietly():
        theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, max_length=400)
        expected, their_tokens = answers(theirs, asked(**how))
        lm = PrefixLM(model, tokenizer, size, KeptAnswers(folder))
    lm._max_length = 400
    found, tokens = answers(lm, asked(**how))
    assert found == expected and len(set(found)) > 3
    assert tokens.keys() == their_tokens.keys() and len(tokens) == len(QUESTIONS)
    for prompt, written in tokens.items():  # after its end, one was filled up with padding
        other = their_tokens[prompt]
        assert written[: min(map(len, (written, other)))] == other[: len(written)]
    return lm


@pytest.mark.parametrize("size", [1, 3, 6])
def test_answers_are_those_of_lm_evals_own_class(
    size: int, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(max_position_embeddings=512)
    lm = both(model, tokenizer, tmp_path, size)
    assert lm.told()["way"] == "prefixes" and capsys.readouterr().err == ""
    prompts = [tokenizer.encode(HEADER + question) for question in QUESTIONS]
    unique = len(HEADER) + sum(len(ids) - len(HEADER) for ids in prompts)
    assert unique <= lm.positions, "one token a byte, and few questions begin alike"
    if size == 1:
        assert lm.positions <= 1.1 * unique < 0.5 * sum(map(len, prompts))


def test_a_prompt_far_shorter_than_its_batch_is_padded_past_the_header(
    tokenizer: Any, tmp_path: Path
) -> None:
    lm = both(make_model(max_position_embeddings=512), tokenizer, tmp_path, 6, header=HEADER[:20])
    assert lm.how == "prefixes"


def test_prompts_that_begin_differently_share_nothing(tokenizer: Any, tmp_path: Path) -> None:
    lm = both(make_model(max_position_embeddings=512), tokenizer, tmp_path, header="")
    lengths = sorted((len(tokenizer.encode(one)) for one in QUESTIONS), reverse=True)
    assert lm.positions == 3 * lengths[0] + 3 * lengths[3]
    told = {"way": "lm-eval's own, as the prompts share no beginning", "requests": 6, "cut": 0}
    assert lm.told() == told


def test_a_prompt_that_is_cut_has_lost_its_beginning(
    tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = both(make_model(max_position_embeddings=512), tokenizer, tmp_path, most=225)
    assert lm.cut == 1
    assert "1 of 6 requests are longer than the model's 175 tokens" in capsys.readouterr().err
    with pytest.raises(UserError, match="answers of up to 400 tokens, and the model takes 400"):
        answers(lm, asked(most=400))


def test_a_cache_that_cannot_be_shared_is_not(
    tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    sliding = MistralForCausalLM(MistralConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=16, initializer_range=0.2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )).eval()  # fmt: skip
    lm = both(sliding, tokenizer, tmp_path)
    assert "DynamicSlidingWindowLayer" in lm.how
    assert "lm-eval's own way is taken: the model's cache" in capsys.readouterr().err

    own = Header.cache

    def wrong(self: Header, *given: Any) -> Any:
        cache = own(self, *given)
        cache.layers[1].values *= 1.5
        return cache

    monkeypatch.setattr(Header, "cache", wrong)
    (tmp_path / "answers.jsonl").unlink()
    lm = both(make_model(max_position_embeddings=512), tokenizer, tmp_path)
    assert "answers after a shared beginning are" in lm.told()["way"]
    with quietly():
        again = PrefixLM(make_model(), tokenizer, 3, KeptAnswers(tmp_path))
    assert again.how == lm.how, "a benchmark that goes on goes on in the same way"


def test_what_was_written_is_not_written_again(tokenizer: Any, tmp_path: Path) -> None:
    model = make_model(max_position_embeddings=512)
    lm = both(model, tokenizer, tmp_path)
    with quietly():
        again = PrefixLM(model, tokenizer, 3, KeptAnswers(tmp_path))
    again._max_length = 400
    found, tokens = answers(again, asked())
    assert found == answers(lm, asked())[0] and not tokens and again.positions == 0
