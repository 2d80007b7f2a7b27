"""Tiny models with random weights, of every architecture that transformers can name.

`small_config` is an architecture's default config with its sizes made small, by the names that
configs use for them; what no such rule gives stands in `EXTRA`. `random_weights` makes a model
whose log-probs depend on its whole past.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

VOCAB, FIRST = 128, 20  # size of the vocabulary; ids below FIRST are special to some model
LAYERS = 4
DEPTHS = ("num_hidden_layers n_layer num_layers n_layers decoder_layers encoder_layers "
          "num_decoder_layers num_encoder_layers").split()  # fmt: skip
SIZES = {
    **dict.fromkeys(
        "hidden_size n_embd d_model emb_dim embedding_size input_embedding_size hidden_dim "
        "output_embedding_size word_embed_proj_dim embedding_dim output_dim hidden_size_global "
        "adapter_in_dim adapter_out_dim adapter_input_size".split(), 32),
    **dict.fromkeys(
        "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim dff dim_ff feed_forward_size "
        "d_inner ffn_hidden_size n_inner dense_intermediate_size intermediate_size_mlp".split(),
        48),
    **dict.fromkeys(
        "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size "
        "expert_ffn_hidden_size moe_shared_expert_intermediate_size q_lora_rank kv_lora_rank "
        "shared_experts_intermediate_size o_lora_rank".split(), 16),
    **dict.fromkeys(DEPTHS, LAYERS),
    **dict.fromkeys(
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads attention_heads "
        "encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads "
        "swa_num_attention_heads linear_num_heads linear_num_value_heads mp_num".split(),
        4),
    **dict.fromkeys(
        "head_dim dim_head attention_head_size kv_channels swa_head_dim global_head_dim "
        "qk_nope_head_dim v_head_dim linear_head_dim linear_key_head_dim linear_value_head_dim "
        "index_head_dim d_kv query_pre_attn_scalar mamba_d_head mamba_head_dim mamba_n_heads "
        "mamba_num_heads mamba_d_state state_size ssm_state_size mamba_chunk_size".split(), 8),
    **dict.fromkeys(["qk_rope_head_dim", "rotary_dim"], 4),
    **dict.fromkeys(
        "sliding_window sliding_window_size window_size attention_window_size local_attention "
        "attention_chunk_size keep_window_size local_attention_window_len".split(), 8),
    **dict.fromkeys(
        "num_experts num_local_experts n_routed_experts moe_num_experts num_routed_experts "
        "ffn_num_experts".split(), 4),
    **dict.fromkeys(
        "num_experts_per_tok num_experts_per_token moe_k moe_topk moe_top_k n_group "
        "linear_num_key_heads num_selected_experts".split(), 2),
    **dict.fromkeys(["topk_group", "first_k_dense_replace", "num_kv_shared_layers"], 1),
    **dict.fromkeys(
        "max_position_embeddings n_positions n_ctx max_seq_len max_target_positions seq_length "
        "context_length".split(), 128),
    "vocab_size": VOCAB, "vocab_size_per_layer_input": VOCAB, "unpadded_vocab_size": VOCAB,
    "hidden_size_per_layer_input": 8, "mamba_d_ssm": 64, "index_topk": 8,
    "index_n_heads": 16,  # with few, scores of zero are tied, and the first of them is arbitrary
}  # fmt: skip
UNSET = {"head_dim": 8, "num_key_value_heads": 4, "num_experts_per_tok": 2, "n_routed_experts": 4}
CONV = {"layer_types": ["conv", "full_attention"] * 2}
SLIDING = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 16,
           "kv_lora_rank": 16, "head_dim": 12, "qk_nope_head_dim": 8, "v_head_dim": 8}  # fmt: skip
EXTRA: dict[str, dict[str, Any]] = {
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {name: {"rope_type": "default", "rope_theta": 1e4}
                            for name in ("sliding_attention", "full_attention")}},
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
             "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_top_k": 2,
                            "ffn_act_fn": {"name": "silu"}}},
    "dots3_note_text": {f"swa_{name}": value for name, value in SLIDING.items()},
    "dots1": {"n_shared_experts": 1, "n_group": 1, "topk_group": 1},
    "emu3": {"vocabulary_map": {"<|extra_200|>": 5, "<image>": 6, "<|visual token 000000|>": 7}},
    "emu3_vqgan": {"codebook_size": 16, "base_channels": 32, "channel_multiplier": [1, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "lfm2": CONV,
    "lfm2_moe": CONV,
    "longcat_flash": {"head_dim": 4},
    "mamba2": {"num_heads": 8},
    "qwen4_exp_text": {"indexer_n_heads": 16, "indexer_kv_heads": 1, "indexer_head_dim": 8,
                       "indexer_budget": 8, "indexer_compress_ratio": 2,
                       "ngram_vocab_size_base": 64},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local"] * LAYERS,
                 "local_attn_chunk_length": 8},
    "roc_bert": {"pronunciation_vocab_size": VOCAB, "shape_vocab_size": VOCAB},
    "xlm": {"causal": True},
    "xlnet": {"attn_type": "uni"},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 2, "attn_layer_offset": 1,
              "layers_block_type": None},
}  # fmt: skip


def small_config(kind: str) -> Any:
    """The config of model type `kind`, made small."""
    from transformers import CONFIG_MAPPING

    return shrunk(CONFIG_MAPPING[kind])


def shrunk(config_class: Any) -> Any:
    """A config of this class with small sizes, its parts (text, vision) too."""
    default = config_class()
    kept = vars(default)
    values = {field.name: kept.get(field.name, field.default) for field in fields(config_class)}
    given = {name: small for name, value in values.items()
             if (small := _small(values, name, value)) is not None}  # fmt: skip
    for name in getattr(default, "sub_configs", {}):
        part = kept.get(name)
        if part is not None and not isinstance(part, dict):
            given[name] = shrunk(type(part)).to_dict()
    if "use_sliding_window" in values:
        given |= {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    return config_class(**(given | EXTRA.get(default.model_type, {})))


def _small(values: dict[str, Any], name: str, value: Any) -> Any:
    """A small value in place of this one; None to leave it as it is."""
    if name == "is_decoder":
        return True
    if value is None:
        return UNSET.get(name)
    if name.endswith(("num_key_value_heads", "num_kv_heads")) and isinstance(value, int):
        heads = values.get(name.replace("key_value", "attention"))
        return 4 if value == heads else min(value, 2)
    if name.endswith(("_token_id", "_token_index")):
        return _special(name, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(value, SIZES[name]) if name in SIZES else None
    depth = next((values[n] for n in DEPTHS if isinstance(values.get(n), int)), None)
    if isinstance(value, list | tuple) and value and len(value) == depth:
        return _cover(list(value))
    return None


def _special(name: str, value: Any) -> Any:
    """An id below FIRST: each name has another."""
    first = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    small = first.get(name, 3 + sum(map(ord, name)) % (FIRST - 3))
    return [small] if isinstance(value, list) else small


def _cover(values: list[Any]) -> list[Any]:
    """As many as there are layers, each kind of layer among them."""
    kinds = list(dict.fromkeys(values))
    chosen = (kinds + values)[: max(LAYERS, len(kinds))]
    return [48 if isinstance(v, int) and v > VOCAB else v for v in chosen]


def random_weights(model: Any) -> None:
    """Matrices that keep the size of what they are given, embeddings and heads that make sharp
    predictions, and no bias that is zero. What is neither (the decays of a state) is left."""
    embeddings = {id(part.weight) for part in (model.get_input_embeddings(),
                  model.get_output_embeddings()) if hasattr(part, "weight")}  # fmt: skip
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if id(weight) in embeddings:
                weight.normal_(0, 0.5)
            elif weight.dim() > 1 and abs(weight.mean()) <= 0.5 * weight.std() + 1e-12:
                weight.normal_(0, 1.2 / weight[0].numel() ** 0.5 if "conv" in name
                               else 1.2 / weight.shape[-1] ** 0.5)  # fmt: skip
            elif weight.dim() == 1 and not weight.any():
                weight.normal_(0, 0.1)
