"""Folders that cannot be loaded as they are: what is wrong, in one line; adapters on their base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_near
from safetensors.torch import load_file, save_file
from tiny import make_model

from tiebreak.config.schema import Adapter, Lora
from tiebreak.engine.models import (
    _unchanging,
    load_model,
    load_policy,
    load_start,
    load_tokenizer,
    trainable,
)
from tiebreak.errors import UserError
from tiebreak.plan.sizes import checkpoint_shape

IDS = torch.tensor([[4, 5, 6, 7]])
PLAIN, OTHER = "{{ messages[0]['content'] }}", "{{ messages[0]['content'] }}!"


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Any) -> Path:
    make_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def settings(folder: Path, name: str = "config.json", **more: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def without(*words: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda weights: {k: w for k, w in weights.items() if not any(x in k for x in words)}


def prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda weights: {f"{prefix}{k}": w for k, w in weights.items()}


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "some missing": (lambda f: rewrite(f, without("layers.1.")),
                     r"model.layers.1.input_layernorm.weight is missing \(and 8 more\), and would"),
    "no head": (lambda f: rewrite(f, without("lm_head")), "lm_head.weight is missing, and would"),
    "compiled": (lambda f: rewrite(f, prefixed("_orig_mod.")), "take '_orig_mod.' off each name"),
    "parallel": (lambda f: rewrite(f, prefixed("module.")), "take 'module.' off each name"),
    "of peft": (lambda f: rewrite(f, prefixed("base_model.model.")), "'base_model.model.' off"),
    "more layers": (lambda f: settings(f, num_hidden_layers=1),
                    r"holds model.layers.1.input_layernorm.weight, which .* \(and 8 more\)"),
    "another size": (lambda f: settings(f, intermediate_size=96),
                     r"mlp.down_proj.weight has the shape \(32, 48\), and config.json asks for "
                     r"\(32, 96\) \(and 5 more\); config.json and weights must be of one model"),
    "another vocabulary": (lambda f: settings(f, vocab_size=364),
                           r"asks for \(364, 32\) \(and 1 more\); .* give vocab_size=300 in"),
    "a wrong value": (lambda f: settings(f, hidden_size="32"), "error for field 'hidden_size'"),
    "an unknown type": (lambda f: settings(f, model_type="new"), "has model type `new` but "),
    "no language model": (lambda f: settings(f, model_type="t5"), "is of no causal language"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_are_not_the_models(folder: Path, kind: str) -> None:
    damage, said = WRONG[kind]
    damage(folder)
    with pytest.raises(UserError, match=said) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_the_remedies_help(folder: Path) -> None:
    expected = load_model(folder)(IDS).logits
    rewrite(folder, prefixed("_orig_mod."))
    rewrite(folder, lambda weights: {k.removeprefix("_orig_mod."): w for k, w in weights.items()})
    assert torch.equal(load_model(folder)(IDS).logits, expected)
    settings(folder, vocab_size=364)
    settings(folder, vocab_size=300)
    assert torch.equal(load_model(folder)(IDS).logits, expected)


def test_what_a_forward_over_text_does_not_use_may_be_there(folder: Path) -> None:
    names = "v_head.summary.weight model.visual.patch.weight model.layers.0.self_attn.masked_bias"
    more = {name: torch.ones(2) for name in names.split()}
    expected = load_model(folder)(IDS).logits
    rewrite(folder, lambda weights: {**weights, **more})
    assert torch.equal(load_model(folder)(IDS).logits, expected)


def test_a_tied_head_is_not_missing(tmp_path: Path) -> None:
    make_model(tie_word_embeddings=True).save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert_near(load_model(tmp_path)(IDS).logits, make_model(tie_word_embeddings=True)(IDS).logits)


def test_a_model_without_sdpa_is_loaded_with_the_librarys_choice(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, attn_logit_softcapping=5.0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    assert_near(load_model(tmp_path)(IDS).logits, model(IDS).logits)


def test_code_in_a_folder_is_neither_run_nor_asked_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr("builtins.input", ask)
    (folder / "code.py").write_text(f"open({str(folder / 'RAN')!r}, 'w')")
    native = load_model(folder)(IDS).logits
    settings(folder, auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"})
    assert torch.equal(load_model(folder)(IDS).logits, native), "the library has this type itself"
    settings(folder, model_type="own")
    with pytest.raises(UserError, match=r"needs code of its own \(auto_map\), which is never run"):
        load_model(folder)
    assert load_tokenizer(folder).eos_token == "<eos>"
    settings(folder, "tokenizer_config.json", tokenizer_class="Own",
             auto_map={"AutoTokenizer": ["code.T", None]})  # fmt: skip
    with pytest.raises(UserError, match=r"needs code of its own \(auto_map\), which is never run"):
        load_tokenizer(folder)
    assert not (folder / "RAN").exists()


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "GPT2Tokenizer", "TokenizersBackend"])
def test_a_tokenizer_without_its_vocabulary(folder: Path, kind: str) -> None:
    """Some classes of transformers make one of special tokens alone, without a word."""
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    with pytest.raises(UserError, match="no file of its vocabulary .*tokenizer.json"):
        load_tokenizer(folder)


@pytest.mark.parametrize("text", ["{}", '{"added_tokens": [], "model": {"type": "BPE"}}', "[1"])
def test_a_tokenizer_that_is_damaged(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match="tokenizer of .* could not be loaded: "):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("special_tokens_map.json", {"unk_token": {"a": 1}}, "its unk_token .* is no token"),
        ("tokenizer_config.json", {"model_max_length": {"a": 1}}, "TypeError"),
    ],
)
def test_a_tokenizer_that_is_loaded_and_cannot_encode(
    file: str, content: dict[str, Any], said: str, folder: Path
) -> None:
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"tokenizer of {folder} could not be loaded: {said}"):
        load_tokenizer(folder)


def one_file(folder: Path, tokenizer: Any) -> None:
    """The older form: a list in the tokenizer's config."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def own_files(folder: Path, tokenizer: Any) -> None:
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("write", [one_file, own_files])
def test_of_several_chat_templates_the_default_one(
    write: Callable[[Path, Any], None], folder: Path, tmp_path: Path, tokenizer: Any
) -> None:
    tokenizer.chat_template = {"default": PLAIN, "tool_use": OTHER}
    write(folder, tokenizer)
    turns = [{"role": "user", "content": "hi"}]
    assert load_tokenizer(folder).apply_chat_template(turns, tokenize=False) == "hi"
    shutil.rmtree(folder / "additional_chat_templates", ignore_errors=True)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.chat_template = {"rag": PLAIN, "tool_use": OTHER}
    write(folder, tokenizer)
    with pytest.raises(UserError, match="of rag, tool_use; .* give model.chat_template=FILE"):
        load_tokenizer(folder)
    (tmp_path / "one.jinja").write_text(OTHER)
    assert load_tokenizer(folder, None, str(tmp_path / "one.jinja")).chat_template == OTHER


def save_adapter(folder: Path, base: Path, seed: int = 1, **more: Any) -> Any:
    """An adapter far from zero, with its base as peft loads them."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], **more},
                        task_type="CAUSAL_LM")  # fmt: skip
    model: Any = get_peft_model(load_model(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    settings(folder, "adapter_config.json", base_model_name_or_path=str(base))
    return model.eval()


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True, "lora_alpha": 3}, {"use_dora": True}])
def test_an_adapter_is_its_base_with_the_adapters_weights(
    folder: Path, tmp_path: Path, kind: dict[str, Any]
) -> None:
    expected = save_adapter(tmp_path / "adapter", folder, **kind)(IDS).logits
    assert not torch.allclose(expected, load_model(folder)(IDS).logits, atol=1e-2)
    found = load_start(tmp_path / "adapter")
    assert_near(found(IDS).logits, expected)
    assert all(parameter.requires_grad for parameter in found.parameters())
    assert load_tokenizer(tmp_path / "adapter").eos_token == "<eos>", "of its base"


def test_an_adapter_on_an_adapter(folder: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "one", folder)
    expected = save_adapter(tmp_path / "two", tmp_path / "one", seed=2)(IDS).logits
    assert_near(load_model(tmp_path / "two")(IDS).logits, expected)


def test_a_kept_model_is_named_by_its_base_too(folder: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "one", folder)
    before = _unchanging(tmp_path / "one", None)
    assert before == _unchanging(tmp_path / "one", None)
    rewrite(folder, lambda weights: {k: w + 1 for k, w in weights.items()})
    assert _unchanging(tmp_path / "one", None) != before
    settings(tmp_path / "one", "adapter_config.json", base_model_name_or_path="org/name")
    assert _unchanging(tmp_path / "one", None) is None, "a Hub's may become another"
    assert _unchanging(tmp_path / "one", "a" * 40) is not None


def test_a_policy_that_is_an_adapter_on_an_adapter(folder: Path, tmp_path: Path) -> None:
    class Train:
        adapter, lora = Adapter.LORA, Lora(rank=2, alpha=4, targets=("q_proj",))

    save_adapter(tmp_path / "start", folder)
    policy = trainable(load_start(tmp_path / "start"), Train())  # type: ignore[arg-type]
    assert torch.equal(policy(IDS).logits, load_start(tmp_path / "start")(IDS).logits)
    policy.save_pretrained(tmp_path / "policy")
    found = load_policy(tmp_path / "start", tmp_path / "policy")
    assert_near(found(IDS).logits, policy.eval()(IDS).logits)


def test_an_adapter_of_another_model(folder: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "adapter", folder)
    make_model(num_hidden_layers=1).save_pretrained(tmp_path / "short")
    settings(tmp_path / "adapter", "adapter_config.json",
             base_model_name_or_path=str(tmp_path / "short"))  # fmt: skip
    with pytest.raises(UserError, match=r"adapter_model.safetensors: .*layers.1.*is not in both"):
        load_model(tmp_path / "adapter")
    make_model(hidden_size=64).save_pretrained(tmp_path / "wide")
    settings(tmp_path / "adapter", "adapter_config.json",
             base_model_name_or_path=str(tmp_path / "wide"))  # fmt: skip
    with pytest.raises(UserError, match="adapter .* could not be loaded: .*Error.*PeftModel"):
        load_model(tmp_path / "adapter")


def test_an_adapter_that_cannot_be_added(folder: Path, tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(load_model(folder), config).save_pretrained(tmp_path / "prompt")
    settings(tmp_path / "prompt", "adapter_config.json", base_model_name_or_path=str(folder))
    with pytest.raises(UserError, match="PROMPT_TUNING cannot be added to the weights"):
        load_model(tmp_path / "prompt")


def test_the_shape_of_a_folder_is_of_the_files_that_are_loaded(folder: Path) -> None:
    shape = checkpoint_shape(folder)
    (folder / "other.safetensors").write_bytes(b"not looked at")
    assert checkpoint_shape(folder) == shape
