"""Byte-level tokenizers made on the spot: every text encodes, and two new lines are one token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.decoders import ByteLevel as Decoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
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
def metaspace() -> PreTrainedTokenizerFast:
    """Llama 2's way: BOS and a space before every text; a word and the space before it are one."""
    space = "\u2581"
    words = [*"0123456789+=abn", space, *(f"{space}{c}" for c in "0123456789ab"), "<0x0A>"]
    vocab = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *words])}
    merges = [(space, c) for c in "0123456789ab"]
    core = Tokenizer(BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    core.pre_tokenizer = Metaspace(prepend_scheme="always", split=False)
    core.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture
def chatml() -> PreTrainedTokenizerFast:
    return _make(CHATML, bos="<|im_start|>", eos="<|im_end|>")
