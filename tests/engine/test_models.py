"""Loading and wrapping models: plain weights, adapters that start at zero, mistakes in words."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_near
from tiny import make_model

from tiebreak.config.schema import Adapter, Lora
from tiebreak.engine.models import load_model, load_policy, load_tokenizer, trainable
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


def test_mistakes_are_named(start, tmp_path):
    with pytest.raises(UserError, match="no module 'c_attn'.*q_proj"):
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
