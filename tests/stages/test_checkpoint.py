"""What of a model's folder names a run: all that changes token ids or weights, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from tiebreak.compose import Run, compose
from tiebreak.errors import UserError

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
FILES = {
    "config.json": '{"model_type": "llama", "vocab_size": 4}',
    "tokenizer.json": '{"model": {}}',
    "tokenizer_config.json": '{"tokenizer_class": "TokenizersBackend"}',
    "chat_template.jinja": TEMPLATE,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A checkpoint as far as keys go."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    save_file({"w": np.zeros(2, np.float32)}, folder / "model.safetensors")
    return folder


def run_of(folder: Path, *more: str) -> Run:
    return compose([f"model={folder}", "scenario=align-from-base", *more])


def adapter(folder: Path, base: str, **settings: object) -> Path:
    folder.mkdir(exist_ok=True)
    about = {"base_model_name_or_path": base, "peft_type": "LORA", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    save_file({"lora": np.ones(2, np.float32)}, folder / "adapter_model.safetensors")
    return folder


READ = [  # by tokenizers of some class in transformers
    "chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "tekken.json",
    "spiece.model", "qwen.tiktoken", "source.spm", "bpe.codes", "vocab-src.json",
    "additional_chat_templates/default.jinja", "additional_chat_templates/tool_use.jinja",
]  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_file_of_the_tokenizer_is_another_model(model: Path, name: str) -> None:
    """In this very process, and with the size and the time of the old file."""
    before = run_of(model)
    file = model / name
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"a": 1}')
    added = run_of(model)
    about = file.stat()
    file.write_text('{"a": 2}')
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    changed = run_of(model)
    file.write_text('{"a": 1}')
    for one, other in ((before, added), (added, changed)):
        assert one.run_id != other.run_id and one.group_id != other.group_id
        assert one.plan.tokens.key != other.plan.tokens.key
        assert one.plan.held_out.key != other.plan.held_out.key
    assert run_of(model).run_id == added.run_id


@pytest.mark.parametrize(
    "name", "README.md LICENSE logo.png generation_config.json trainer_state.json log.jsonl".split()
)
def test_what_no_result_depends_on_is_no_part(model: Path, name: str) -> None:
    before = run_of(model).run_id
    (model / name).write_text("{}")
    assert run_of(model).run_id == before


def test_equal_content_elsewhere_is_the_same_model(model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model, tmp_path / "elsewhere"))
    assert run_of(other).run_id == run_of(model).run_id
    (other / "chat_template.jinja").write_text("other")
    assert run_of(other).group_id != run_of(model).group_id


def test_a_folder_is_named_as_version_0_1_0_named_it(model: Path) -> None:
    start = run_of(model).plan.start
    weights = "c5d9cde2dc16c5cd024df990c4880998c49cb4d1ba9b18d4729dfd1a556a3357"
    tokenizer = "d5a6d8b755f5fbabbce3867c7da4c95ddc8827cadf9308214a9761b807d45986"
    assert start.settings == {"checkpoint": weights}
    assert start.tokenizer_settings == {"tokenizer": tokenizer}


@pytest.mark.parametrize("named", ["", '{"tokenizer_class": "TokenizersBackend"}'])
def test_the_type_of_the_model_where_it_decides_the_tokenizers_class(
    model: Path, named: str
) -> None:
    (model / "tokenizer_config.json").write_text(named or "{}")
    first = run_of(model).plan.tokens.key
    (model / "config.json").write_text('{"model_type": "qwen2"}')
    assert run_of(model).plan.tokens.key != first


def test_the_shards_that_an_index_names(model: Path) -> None:
    (model / "model.safetensors").unlink()
    for at in (1, 2):
        for of in (2, 3):
            save_file({f"w{at}": np.full(2, of, np.float32)},
                      model / f"model-0000{at}-of-0000{of}.safetensors")  # fmt: skip
    index, ids = model / "model.safetensors.index.json", []
    for of in (2, 3):
        names = {f"w{at}": f"model-0000{at}-of-0000{of}.safetensors" for at in (1, 2)}
        index.write_text(json.dumps({"weight_map": names}))
        ids.append(run_of(model).run_id)
    assert ids[0] != ids[1]
    index.write_text(
        json.dumps({"weight_map": {**names, "w3": "model-00003-of-00003.safetensors"}})
    )
    with pytest.raises(
        UserError, match=r"model-00003-of-00003.safetensors is missing; .* names it"
    ):
        run_of(model)


def test_an_adapter_counts_with_its_base(model: Path, tmp_path: Path) -> None:
    def of(name: str, base: Path, **settings: object) -> Run:
        return run_of(adapter(tmp_path / name, str(base), **settings))

    one = of("one", model, r=4)
    assert one.run_id != run_of(model).run_id
    assert one.plan.tokens.key == run_of(model).plan.tokens.key  # the base brings the tokenizer
    moved = Path(shutil.copytree(model, tmp_path / "moved"))
    assert of("other", moved, r=4).run_id == one.run_id, "a place is no content"
    assert of("scaled", model, r=4, lora_alpha=2).run_id != one.run_id
    (tmp_path / "one" / "adapter_model.safetensors").write_bytes(save({"lora": np.zeros(3)}))
    assert run_of(tmp_path / "one").run_id != one.run_id
    save_file({"w": np.ones(2, np.float32)}, moved / "model.safetensors")
    assert run_of(tmp_path / "other").run_id != one.run_id
    second = of("second", tmp_path / "one")
    assert second.run_id not in (one.run_id, run_of(tmp_path / "one").run_id)
    (tmp_path / "one" / "tokenizer_config.json").write_text("{}")
    assert run_of(tmp_path / "one").plan.tokens.key != one.plan.tokens.key


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def quantised(folder: Path, *, weights: object = np.float32) -> None:
    about = {"text_config": {"quantization_config": {"quant_method": "gptq"}}}
    (folder / "config.json").write_text(json.dumps(about))
    save_file({"w": np.zeros(2, weights)}, folder / "model.safetensors")  # type: ignore[arg-type]


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda m: cut(m / "model.safetensors"),
            r"model.safetensors is no safetensors file, or a part of one .*; download or make it"),
    "pointer": (lambda m: pointer(m / "model.safetensors"),
                r"model.safetensors is a git-lfs pointer, .*: git lfs pull"),
    "tokenizer pointer": (lambda m: pointer(m / "tokenizer.json"),
                          r"tokenizer.json is a git-lfs pointer"),
    "tokenizer cut": (lambda m: cut(m / "tokenizer.json"), r"tokenizer.json is not JSON \(.*\); "),
    "config cut": (lambda m: cut(m / "config.json"), r"config.json is not JSON \(.*\); download"),
    "no weights": (lambda m: (m / "model.safetensors").rename(m / "weights.bin"),
                   r"no model.safetensors and no model.safetensors.index.json \(found: weights.bin "
                   r"weights\); only safetensors weights are read: .*save_pretrained"),
    "quantised": (lambda m: quantised(m, weights=np.int32),
                  r"config.json: quantization_config \(gptq\): .*; give the model in full prec"),
    "quantised by its config alone": (quantised, r"take the key out of config.json, or give"),
    "adapter beside weights": (lambda m: adapter(m, "org/name"),
                               r"adapter_config.json: an adapter beside whole weights \(model.saf"),
    "adapter, no weights": (lambda m: (m / "model.safetensors").unlink()
                            or (adapter(m, "org/name") / "adapter_model.safetensors").unlink(),
                            r"has no adapter_model.safetensors; save the adapter as safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_is_named_before_anything_is_computed(model: Path, kind: str) -> None:
    damage, said = DAMAGED[kind]
    damage(model)
    with pytest.raises(UserError, match=said) as caught:
        run_of(model)
    assert str(model) in str(caught.value) and "\n" not in str(caught.value)


def test_an_adapter_whose_base_is_not_there(tmp_path: Path) -> None:
    for base, said in (("/no/where", "no such folder"), ("org/name", "pin revision there to a 40"),
                       (str(tmp_path / "a"), "an adapter is no base of itself")):  # fmt: skip
        adapter(tmp_path / "a", base)
        with pytest.raises(UserError, match=f"a/adapter_config.json: base_model.*{base}.*{said}"):
            run_of(tmp_path / "a")
    adapter(tmp_path / "a", "org/name", revision="a" * 40)
    first = run_of(tmp_path / "a")
    adapter(tmp_path / "a", "org/name", revision="b" * 40)
    assert run_of(tmp_path / "a").run_id != first.run_id
