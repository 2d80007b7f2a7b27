"""A small checkpoint folder, written without torch: what a plan reads of a real model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HIDDEN, LAYERS, VOCABULARY = 8, 2, 50


def write_checkpoint(folder: Path) -> None:
    """A Llama's config.json and weights, of two layers with attention only."""
    folder.mkdir()
    config = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
              "num_attention_heads": 2, "tie_word_embeddings": True}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    weights = {
        f"model.layers.{layer}.self_attn.{name}.weight": np.zeros((HIDDEN, HIDDEN), np.float32)
        for layer in range(LAYERS)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj")
    }
    embedding = np.zeros((VOCABULARY, HIDDEN), np.float32)
    save_file({**weights, "model.embed_tokens.weight": embedding}, folder / "model.safetensors")
