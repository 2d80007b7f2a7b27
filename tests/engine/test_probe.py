"""The probe finds a layout that is right, and every fault that was put in on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers
from tiny import VOCAB, make_model, make_tokens, score_table, shifted

from tiebreak.engine import causal_lm, masks, probe, rows, scoring
from tiebreak.engine.reference import ReferenceTable
from tiebreak.engine.rows import Branches, Layout
from tiebreak.engine.scorer import TrainingData
from tiebreak.errors import UserError

SHAPE = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
         "max_position_embeddings": 128, "pad_token_id": 0}  # fmt: skip


def of(name: str, **more):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **(more if {"d_model", "text_config"} & set(more) else SHAPE | more)
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    scoring.disable_noise(model)
    scoring.install(model)
    return model.train()


def real_rows(num: int = 8) -> list[Branches]:
    data = TrainingData(make_tokens(num))
    return [data.branches(row) for row in range(num)]


LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
        "original_max_position_embeddings": 16, "short_factor": [1.0] * 4,
        "long_factor": [1.0, 2.0, 4.0, 8.0]}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
LAYOUTS = {
    "Llama": ({}, Layout.SHARED),
    "Mistral": ({"sliding_window": 6}, Layout.SHARED),
    "Gemma2": ({"head_dim": 8, "final_logit_softcapping": 1.0, "sliding_window": 6,
                "query_pre_attn_scalar": 8}, Layout.SHARED),
    "Gemma4": ({"text_config": SHAPE | {
        "head_dim": 16, "final_logit_softcapping": 1.0, "sliding_window": 6,
        "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 8}}, Layout.SHARED),
    "Qwen2Moe": ({"sliding_window": 0, "num_experts": 2, "num_experts_per_tok": 1,
                  "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
                 Layout.SHARED),  # a window that no layer uses
    "Phimoe": ({"num_local_experts": 2, "num_experts_per_tok": 1}, Layout.SHARED),
    "Lfm2": ({"layer_types": ["conv", "full_attention"]}, Layout.SEPARATE),
    "Bert": ({"is_decoder": True}, Layout.SHARED),
    "GPTJ": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}, Layout.SHARED),
    "Bloom": ({}, Layout.SEPARATE),  # its forward takes no positions
    "XLNet": ({"vocab_size": VOCAB, "initializer_range": 0.2, "d_model": 32,
               "n_layer": 2, "n_head": 4, "d_inner": 48, "attn_type": "uni"}, Layout.ALONE),
    "Bart": ({"vocab_size": VOCAB, "init_std": 0.2, "d_model": 32, "decoder_layers": 2,
              "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "decoder_layerdrop": 0.9},
             Layout.SHARED),
    "Falcon": ({"alibi": True, "new_decoder_architecture": False}, Layout.SEPARATE),
    "Phi3": ({"rope_parameters": LONG, "original_max_position_embeddings": 16}, Layout.ALONE),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_cheapest_layout_that_is_right(name):
    settings, layout = LAYOUTS[name]
    found = probe.probe(of(name, **settings), real_rows())
    assert found.layout is layout and found.difference < 1e-4


def test_gpt2_is_told_nothing_beside_token_ids():
    """It would add the embedding of token type 0 to every position."""
    model, some = of("GPT2", bos_token_id=1, eos_token_id=2), real_rows()
    found = probe.probe(model, some)
    for (row, branch), logp in found.truth.items():
        response = some[row].responses[branch]
        ids = torch.tensor([[*some[row].prompt, *response]])
        logits = type(model).forward(model, input_ids=ids).logits[0].log_softmax(-1)
        own = logits[len(some[row].prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None])
        assert (own[:, 0] - logp).abs().max() < 1e-4


TABLES = {
    "GPT2": {"bos_token_id": 1, "eos_token_id": 2},
    "Roberta": {"is_decoder": True, "pad_token_id": 1},  # its first position is row 2 of the table
    "Bart": LAYOUTS["Bart"][0],
    "Pegasus": LAYOUTS["Bart"][0] | {"pad_token_id": 0},  # a table of sines, which is not trained
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_positions_is_read_by_position_and_trained_like_the_models_own(name):
    model, some = of(name, **TABLES[name]), real_rows(3)
    assert probe.probe(model, some).layout is Layout.SHARED
    scored = scoring.score(model, rows.build(some, 0)).logp
    torch.cat(scored).sum().backward()
    shared = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    for row in some:
        torch.cat([probe._truth(model, row, r) for r in row.responses]).sum().backward()
    for name, weight in model.named_parameters():
        mine, own = (torch.zeros(1) if g is None else g for g in (shared[name], weight.grad))
        assert (mine - own).norm() <= 1e-4 * own.norm() + 1e-5, name


def test_a_routers_noise_is_off_and_the_model_is_its_own():
    torch.manual_seed(0)
    more = {"num_local_experts": 4, "router_jitter_noise": 0.5, "input_jitter_noise": 0.5}
    config = transformers.PhimoeConfig(**SHAPE, **more)
    model, ids = transformers.AutoModelForCausalLM.from_config(config), torch.arange(3, 20)[None]
    own = model.eval()(input_ids=ids).logits
    scoring.disable_noise(model)
    for _ in range(2):  # Phi-MoE draws its experts in training, and routes by the noise in eval
        assert torch.equal(model.train()(input_ids=ids).logits, own)


@pytest.mark.parametrize("some", [real_rows(), [Branches([5], [[6]]), Branches([5, 7], [[6]])]])
def test_a_model_that_sees_later_tokens_is_refused(some):
    with pytest.raises(UserError, match="'bert' lets a token see those that follow"):
        probe.probe(of("Bert"), some)


def test_growing_positions_are_those_of_the_row_alone():
    model = of("Llama", rope_parameters=DYNAMIC, max_position_embeddings=12)
    few = [Branches([5, 6, 7], [[8] * 30, [9] * 4]), Branches([5, 6], [[7] * 12, [8] * 3])]
    found = probe.probe(model, few)
    assert found.layout is Layout.ALONE
    for _ in range(2):
        for row, branch in reversed(found.truth):
            again = probe._truth(model, few[row], few[row].responses[branch])
            assert torch.equal(again, found.truth[row, branch])


def siblings_visible(monkeypatch):
    plain = masks.branches_apart
    monkeypatch.setattr(
        scoring, "branches_apart", lambda at, branch: plain(at, branch.clamp(max=0))
    )


def cap_lost(monkeypatch):
    plain = scoring.after_head
    lost = lambda model: causal_lm.AfterHead(plain(model).vocabulary)  # noqa: E731
    monkeypatch.setattr(scoring, "after_head", lost)


def boundary_off_by_one(monkeypatch):
    plain = rows._placed

    def moved(row, prompt, layout):
        return plain(Branches([*row.prompt, 3], row.responses), prompt, layout)

    monkeypatch.setattr(rows, "_placed", moved)


def window_ignored(monkeypatch):
    from transformers.masking_utils import causal_mask_function

    plain = masks._by_position
    build = transformers.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
    assert plain
    ignoring = lambda *a, mask_function, **k: build(*a, mask_function=causal_mask_function, **k)  # noqa: E731
    shared = scoring.branches_apart

    class Ignored:
        def __init__(self, *rows):
            self.inner = shared(*rows)

        def __enter__(self):
            monkeypatch.setitem(
                masks.ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "sdpa", ignoring
            )
            return self.inner.__enter__()

        def __exit__(self, *error):
            monkeypatch.setitem(masks.ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "sdpa", build)
            return self.inner.__exit__(*error)

    monkeypatch.setattr(scoring, "branches_apart", Ignored)


MUTATIONS = {
    siblings_visible: {},
    cap_lost: {"final_logit_softcapping": 1.0},
    boundary_off_by_one: {},
    window_ignored: {},
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda f: f.__name__)
def test_a_fault_in_the_shared_layout_is_found(monkeypatch, mutation):
    mutation(monkeypatch)
    name = "Gemma2" if mutation is cap_lost else "Mistral"
    more = {"head_dim": 8, "query_pre_attn_scalar": 8, **MUTATIONS[mutation]}
    model = of(name, sliding_window=6, **(more if name == "Gemma2" else {}))
    try:
        found = probe.probe(model, real_rows())
    except UserError as error:
        assert "no layout of its rows" in str(error) and "nats off" in str(error)
    else:
        assert found.layout is not Layout.SHARED
    if mutation in (cap_lost, boundary_off_by_one):  # wrong in every layout
        with pytest.raises(UserError, match="cannot be scored"):
            probe.probe(model, real_rows())


def test_a_shuffled_vocabulary_is_found(monkeypatch):
    plain = rows.build

    def shuffled(*args, **kwargs):
        built = plain(*args, **kwargs)
        return replace(built, targets=(built.targets + 1) % VOCAB)

    monkeypatch.setattr(probe.row_layout, "build", shuffled)
    with pytest.raises(UserError, match="cannot be scored"):
        probe.probe(of("Llama"), real_rows())


def test_a_reference_from_another_template_is_found():
    model, some = of("Llama"), real_rows()
    found = probe.probe(model, some)
    probe.check_reference(found, score_table(model, some), "float32")
    another = [Branches([4, *row.prompt], row.responses) for row in some]
    with pytest.raises(UserError, match="against a wrong reference"):
        probe.check_reference(found, score_table(model, another), "float32")
    shorter = ReferenceTable.of([[torch.zeros(1)] * 2 for _ in some])
    with pytest.raises(UserError, match="inf nats per token off"):
        probe.check_reference(found, shorter, "bfloat16")
    probe.check_reference(found, shifted(score_table(model, some), 0.05), "bfloat16")


def test_an_id_without_an_embedding_is_refused():
    with pytest.raises(UserError, match=f"token id {VOCAB}.*embeddings for {VOCAB} "):
        probe.probe(make(), [Branches([1, VOCAB], [[2]])])


def make():
    model = make_model()
    scoring.install(model)
    return model


def test_a_row_longer_than_the_model_is_refused():
    gpt2 = of("GPT2", max_position_embeddings=16, bos_token_id=1, eos_token_id=2)
    with pytest.raises(UserError, match=r"takes 23 positions.*has 16; give data.max_length=16"):
        probe.probe(gpt2, [Branches([5, 6, 7], [[8] * 20, [9] * 4])])


def test_what_is_compared():
    """The longest row, the shortest, and of another row its longest conversation; the last two pad
    each other. Where the longest row has it, the shortest is padded to that row."""
    long, talk = Branches([5] * 3, [[8] * 13, [9] * 13]), Branches([5] * 3, [[8] * 2, [9] * 15])
    short = Branches([5], [[6, 7, 8], [7, 8, 9]])
    longest = [(0, 0), (0, 1)]
    assert probe._chosen([long, talk, short]) == [[longest], [[(2, 0), (2, 1)], [(1, 1)]]]
    assert probe._chosen([long, short]) == [[longest, [(1, 0), (1, 1)]]]
    assert probe._chosen([long]) == [[longest]]
    alike = Branches([5, 6], [[7, 7, 8], [7, 7, 9]])
    later = Branches([5] * 2, [[6, 6, 7, 7], [6, 6, 8, 8]])
    apart = Branches([5, 6], [[7, 8, 8], [8, 8, 8, 8]])
    both = [[(i, 0), (i, 1)] for i in range(3)]
    assert probe._chosen([alike, later, apart]) == [[both[1]], [both[0], both[2]]]


def test_the_longest_conversation_need_not_be_in_the_longest_row():
    gpt2 = of("GPT2", max_position_embeddings=16, bos_token_id=1, eos_token_id=2)
    rows_ = [Branches([5, 6, 7], [[8] * 13, [9] * 13]), Branches([5, 6, 7], [[8] * 15, [9] * 2])]
    with pytest.raises(UserError, match=r"takes 18 positions.*give data.max_length=16"):
        probe.probe(gpt2, rows_)
