"""Loading and wrapping models: plain weights, adapters that start at zero, mistakes in words."""

from __future__ import annotations

import inspect

import pytest
import torch
from closeness import assert_near
from tiny import make_model

from tiebreak.config.schema import Adapter, Lora
from tiebreak.engine import generation
from tiebreak.engine.generation import generate
from tiebreak.engine.models import (
    linear_layers,
    load_model,
    load_policy,
    load_tokenizer,
    trainable,
)
from tiebreak.engine.scoring import install
from tiebreak.errors import UserError

IDS = torch.tensor([[4, 5, 6, 7]])


class Train:
    """The two fields of a train configuration that `trainable` reads."""

    def __init__(self, adapter: Adapter, targets: tuple[str, ...] = ("q_proj", "v_proj")) -> None:
        self.adapter = adapter
        self.lora = Lora(rank=4, alpha=8, targets=targets)


@pytest.fixture
def start(tmp_path, tokenizer):
    folder = tmp_path / "start"
    make_model().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_fresh_adapter_changes_nothing_and_trains_little(start):
    expected = load_model(start)(IDS).logits
    policy = trainable(load_model(start), Train(Adapter.LORA))
    assert torch.equal(policy(IDS).logits, expected)
    trained = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in n for n in trained)
    model = make_model()
    assert trainable(model, Train(Adapter.NONE)) is model


def test_what_training_left_is_found_again(start, tmp_path):
    policy = trainable(load_model(start), Train(Adapter.LORA))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    policy.save_pretrained(tmp_path / "adapter")
    again = load_policy(start, tmp_path / "adapter")
    assert_near(again(IDS).logits, policy.eval()(IDS).logits)
    assert not again.training
    full = load_policy("unused", start)
    assert_near(full(IDS).logits, make_model()(IDS).logits)


def test_weights_are_float32_whatever_the_file_says(tmp_path):
    make_model().to(torch.bfloat16).save_pretrained(tmp_path)
    assert {p.dtype for p in load_model(tmp_path).parameters()} == {torch.float32}


def test_pickled_weights_are_refused(tmp_path):
    model = make_model()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(tmp_path)


def test_an_adapter_goes_on_linear_layers_and_nothing_else(start):
    from transformers import CTRLConfig, CTRLLMHeadModel

    shape = {"n_embd": 32, "dff": 48, "n_layer": 3, "n_head": 4, "vocab_size": 50}
    ctrl = CTRLLMHeadModel(CTRLConfig(**shape))
    # Layers are numbered, and so are the parts of the feed-forward network.
    assert linear_layers(ctrl) == ["Wk", "Wq", "Wv", "dense", "ffn.0", "ffn.2"]
    policy = trainable(ctrl, Train(Adapter.LORA, ("Wq", "ffn.2")))
    trained = {n.split(".lora_")[0] for n, p in policy.named_parameters() if p.requires_grad}
    assert len(trained) == 6
    with pytest.raises(UserError, match=r"no linear layer '2'; it has Wk, .*ffn\.2"):
        trainable(CTRLLMHeadModel(CTRLConfig(**shape)), Train(Adapter.LORA, ("2",)))


def test_a_linear_layer_with_a_forward_of_its_own_is_one_if_it_acts_as_one():
    from transformers import FalconConfig, FalconForCausalLM, Llama4ForCausalLM, Llama4TextConfig

    few = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    falcon = FalconForCausalLM(FalconConfig(**few))
    assert "query_key_value" in linear_layers(falcon)
    shape = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 16, "head_dim": 8,
             "intermediate_size_mlp": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "num_local_experts": 2}  # fmt: skip
    found = linear_layers(Llama4ForCausalLM(Llama4TextConfig(**shape)))
    assert "q_proj" in found and "router" not in found  # a router gives two things


def test_what_peft_refuses_is_refused_in_a_line():
    from transformers import MambaConfig, MambaForCausalLM

    mamba = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1))
    with pytest.raises(UserError, match="train.lora.targets.*out_proj"):
        trainable(mamba, Train(Adapter.LORA, ("out_proj",)))


def greedy(model, prompt, steps):
    ids = list(prompt)
    for _ in range(steps):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def answers(model, prompts, steps=6):
    return generate(model, prompts, pad_id=0, end_ids=[2], max_new_tokens=steps, temperature=0,
                    batch_size=2, seed=0)  # fmt: skip


PROMPTS = [[5, 9, 30, 41, 7], [11], [8, 33, 12, 17, 5], [40, 41], [9, 3, 4]]


@torch.no_grad()
def test_prompts_are_not_padded_where_padding_changes_the_answers():
    from transformers import RwkvConfig, RwkvForCausalLM

    torch.manual_seed(0)
    model = RwkvForCausalLM(RwkvConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2)).eval()
    for weight in model.parameters():
        weight.normal_(0, 0.5)
    assert generation._way_to_generate(model, PROMPTS, 0, 6) == (False, True)
    assert generation._way_to_generate(make_model(), PROMPTS, 0, 6) == (True, True)
    assert list(generation._together(PROMPTS, 2, True)) == [[0, 1], [2, 3], [4]]
    assert list(generation._together(PROMPTS, 1, False)) == [[1], [3], [4], [0], [2]]
    for each in (model, make_model()):
        expected = [generation._until_end(greedy(each, prompt, 6), [2]) for prompt in PROMPTS]
        assert answers(each, PROMPTS) == expected


@torch.no_grad()
def test_generation_that_is_not_the_forwards_is_refused(monkeypatch):
    model = make_model()
    monkeypatch.setattr(generation, "_generation_off", lambda *a: 0.25)
    with pytest.raises(UserError, match=r"'llama' cannot.*0\.25 nats.*evaluators=\[pairs\]"):
        answers(model, PROMPTS)


def test_a_model_that_is_scored_generates_as_before():
    model = make_model()
    before = answers(model, PROMPTS)
    install(model)
    taken = inspect.signature(model.forward).parameters
    assert "position_ids" in taken and "self" not in taken  # the library passes what it finds here
    assert answers(model, PROMPTS) == before


def test_mistakes_are_named(start, tmp_path):
    with pytest.raises(UserError, match="no linear layer 'c_attn'.*q_proj"):
        trainable(load_model(start), Train(Adapter.LORA, ("c_attn",)))
    with pytest.raises(UserError, match="nowhere could not be loaded"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere could not be loaded"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(UserError, match="chat_template=.*missing.jinja: no such file"):
        load_tokenizer(start, chat_template=str(tmp_path / "missing.jinja"))


def test_a_chat_template_from_a_file_and_a_pad_token_for_all(start, tmp_path):
    (tmp_path / "plain.jinja").write_text("{{ messages[0]['content'] }}")
    tokenizer = load_tokenizer(start, chat_template=str(tmp_path / "plain.jinja"))
    turn = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(turn, tokenize=False) == "hi"
    assert tokenizer.pad_token_id is not None


def test_the_check_of_generation_takes_few_forwards():
    """Four tokens and a plain forward of each prompt, where positions do not depend on lengths."""
    model, steps, forwards = make_model(), 40, []
    model.register_forward_hook(lambda *_: forwards.append(1))
    generate(model, [[4, 5, 6], [7, 8, 9, 10]], pad_id=0, end_ids=[2], max_new_tokens=steps,
             temperature=0, batch_size=2, seed=0)  # fmt: skip
    assert len(forwards) <= steps + generation.CHECKED + 2


def test_no_memory_is_no_reason_for_another_layout(monkeypatch):
    from tiebreak.engine import probe
    from tiebreak.engine.rows import Branches

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("full")

    model = make_model()
    install(model)
    monkeypatch.setattr(probe.row_layout, "build", full)
    with pytest.raises(torch.OutOfMemoryError):
        probe.probe(model, [Branches([4, 5], [[6, 7], [8]])])
