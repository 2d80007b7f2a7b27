"""Shared fixtures. The pieces are in `tiny.py`."""

from __future__ import annotations

import os

import pytest

# Read by the libraries when they are imported.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    TRL_EXPERIMENTAL_SILENCE="1",  # the parity tests use its experimental CPOTrainer on purpose
)

# Warnings of third parties, each with who causes it.
_IGNORED = (
    # peft 0.21 reads a property that transformers 5.23 has renamed.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    for line in _IGNORED:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture
def tokenizer():
    """One token per byte, and the three special tokens the tiny model's config names."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>"]
    vocab = {c: i for i, c in enumerate([*special, *sorted(ByteLevel.alphabet())])}
    core = Tokenizer(BPE(vocab, []))
    core.pre_tokenizer, core.decoder = ByteLevel(add_prefix_space=False), Decoder()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
