"""Sizes of the models and data that the shipped configs name (for plans before a download).

A shape is that of the model's config.json on the Hub, and rows are those its card states. Mean
tokens are supposed, with a vocabulary of 32,000; once the data were read here, theirs count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tiebreak.data.sources import Lengths

# (vocabulary, hidden, intermediate, layers, heads, heads of keys), the head not tied
_MISTRAL = (32000, 4096, 14336, 32, 32, 8)
_LLAMA_3 = (128256, 4096, 14336, 32, 32, 8)
MODELS: Mapping[str, tuple[int, int, int, int, int, int]] = MappingProxyType({
    "mistralai/Mistral-7B-v0.1": _MISTRAL,
    "mistralai/Mistral-7B-Instruct-v0.2": _MISTRAL,
    "alignment-handbook/zephyr-7b-sft-full": _MISTRAL,
    "meta-llama/Meta-Llama-3-8B": _LLAMA_3,
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_3,
    "princeton-nlp/Llama-3-Base-8B-SFT": _LLAMA_3,
})  # fmt: skip
ROWS: Mapping[tuple[str, str], Lengths] = MappingProxyType({
    ("HuggingFaceH4/ultrafeedback_binarized", "train_prefs"): Lengths(61_135, 250, 320),
    ("HuggingFaceH4/ultrafeedback_binarized", "test_prefs"): Lengths(2_000, 250, 320),
    ("HuggingFaceH4/ultrachat_200k", "train_sft"): Lengths(207_865, 250, 850, 1),
})  # fmt: skip
