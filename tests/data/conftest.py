"""Byte-level tokenizers made on the spot: every text encodes, and two new lines are one token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as Decoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Make = Callable[..., PreTrainedTokenizerFast]


def _make(
    template: str | None = None,
    bos: str | None = None,
    eos: str | None = "</s>",
    adds_bos: bool = False,
    special: tuple[str, ...] = (),
) -> PreTrainedTokenizerFast:
    vocab = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}
    vocab["ĊĊ"] = len(vocab)
    core = Tokenizer(BPE(vocab, [("Ċ", "Ċ")]))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False)
    core.decoder = Decoder()
    marks = {"bos_token": bos, "eos_token": eos}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        extra_special_tokens=list(special),
        **{name: mark for name, mark in marks.items() if mark is not None},
    )
    if adds_bos:
        backend = tokenizer.backend_tokenizer
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
        )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def make_tokenizer() -> Make:
    return _make


@pytest.fixture
def chatml() -> PreTrainedTokenizerFast:
    return _make(CHATML, bos="<|im_start|>", eos="<|im_end|>")
