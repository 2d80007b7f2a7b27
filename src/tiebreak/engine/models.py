"""Load what training starts from, and what it left: safetensors only, no remote code."""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from tiebreak.config.schema import Adapter, TrainConfig
from tiebreak.data.template import read_template
from tiebreak.engine.causal_lm import lm_head
from tiebreak.engine.probe import FAILURES
from tiebreak.errors import UserError
from tiebreak.model_folder import (
    ADAPTER,
    ADAPTER_CONFIG,
    adapter_base,
    refuse_quantised,
    tokenizer_place,
    weight_files,
)
from tiebreak.store import stamps
from tiebreak.warm import kept

_REMEDY = "give the folder of a checkpoint, a Hub id that this machine can reach, or fetch one"
_NO_WORDS = "no file of its vocabulary (tokenizer.json, tokenizer.model, vocab.json) is there"
# Weights that a forward over text does not use: of other inputs, of drafts, of values; old masks.
_BESIDE = re.compile(
    r"(^|\.)(visual|vision\w*|audio\w*|image\w*|multi_?modal\w*|mm_\w+|embed_(vision|audio)|mtp|v_head)"
    r"\.|(attn|attention)\.(bias|masked_bias|causal_mask)$"
)


def device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def autocast(precision: str) -> AbstractContextManager[Any]:
    """Mixed precision as training computes it; float32 switches it off."""
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16")


def load_model(source: str | Path, revision: str | None = None) -> Any:
    """A causal LM with float32 weights, on the device, in eval mode. The folder of an adapter gives
    its base model with the adapter's weights added. UserError: it cannot be loaded, or not every
    weight of the model is in its files."""
    from transformers import AutoConfig

    base = adapter_base(source)
    if base is not None:
        return _merged(load_model(base.place, revision), Path(source))
    with _in_words(f"model {source}"):
        if not Path(source).is_dir():
            _refuse_hub_adapter(str(source), revision)
        config: Any = AutoConfig.from_pretrained(
            source, revision=revision or "main", trust_remote_code=False
        )
        refuse_quantised(config.to_dict(), source)
        model, found = _load(source, revision, config)
    _refuse_other_weights(source, found)
    return model.to(device()).eval()


def _load(source: str | Path, revision: str | None, config: Any) -> tuple[Any, dict[str, Any]]:
    """(model, what its files have and lack), with the library's choice of attention where the
    model's class has no SDPA."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        source, revision=revision or "main", config=config, dtype=torch.float32,
        use_safetensors=True, trust_remote_code=False, output_loading_info=True,
        ignore_mismatched_sizes=True,
    )  # fmt: skip
    return loaded


class _in_words:
    """Turns what the libraries raise for files that they cannot load into one line."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: object) -> None:
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError

        if kind is None or issubclass(kind, UserError):
            return
        plain = (OSError, ValueError, SafetensorError, StrictDataclassError)
        others = (RuntimeError, ImportError, LookupError, TypeError, AttributeError)
        if issubclass(kind, (*plain, *others)) or kind is Exception:  # the last by `tokenizers`
            said = _said(error) if issubclass(kind, plain) else f"{kind.__name__}: {_said(error)}"
            raise UserError(f"{self.what} could not be loaded: {said}; {_REMEDY}") from error


def _said(error: BaseException) -> str:
    """The first words of a library's message, or better ones."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".")
    if "custom code" in said:
        return "it needs code of its own (auto_map), which is never run"
    if "instantiate the backend tokenizer" in said:
        return _NO_WORDS
    if said.startswith("Unrecognized configuration class"):
        return "its config.json is of no causal language model"
    return said


def _refuse_hub_adapter(hub_id: str, revision: str | None) -> None:
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(hub_id, revision=revision) is not None:
        raise UserError(
            f"model {hub_id} has {ADAPTER_CONFIG}: an adapter is read from a folder, so that its "
            f"base model is known; download it (hf download {hub_id} --local-dir FOLDER) and give "
            "model=FOLDER"
        )


def _refuse_other_weights(source: str | Path, found: Mapping[str, Any]) -> None:
    """UserError unless the files hold the weights of the model, all of them and no others."""
    files = weight_files(Path(source)) if Path(source).is_dir() else []
    where = files[0] if len(files) == 1 else source
    missing = sorted(found["missing_keys"])
    others = sorted(name for name in found["unexpected_keys"] if not _BESIDE.search(name))
    sizes = sorted(
        (name, tuple(held), tuple(asked)) for name, held, asked in found["mismatched_keys"]
    )
    one_model = "config.json and weights must be of one model: download or save both again"
    if sizes:
        name, held, asked = sizes[0]
        if held[1:] == asked[1:] and ("embed" in name or "head" in name or "wte" in name):
            one_model = f"if the weights are right, give vocab_size={held[0]} in config.json"
        raise UserError(
            f"{where}: {name} has the shape {held}, and config.json asks for {asked}"
            f"{_more(sizes)}; {one_model}"
        )
    prefix = _prefix(missing, others)
    if prefix is not None:
        raise UserError(
            f"{where}: its weights are named {prefix}{missing[0]} and so on, and the model has "
            f"{missing[0]}; take {prefix!r} off each name (load_file and save_file of "
            "safetensors.torch)"
        )
    if missing:
        raise UserError(
            f"{where}: {missing[0]} is missing{_more(missing)}, and would be random; {one_model}"
        )
    if others:
        raise UserError(
            f"{where}: holds {others[0]}, which the model of config.json does not have"
            f"{_more(others)}; {one_model}, or take these weights out of the file"
        )


def _more(names: Collection[Any]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _prefix(missing: Sequence[str], others: Sequence[str]) -> str | None:
    """What stands before the model's own names in the files; None: nothing."""
    for name in missing[:9]:
        for other in others:
            if other.endswith(f".{name}"):
                return other.removesuffix(name)
    return None


def _merged(model: Any, folder: Path) -> Any:
    """The model with the weights of an adapter added to its own. UserError: the adapter is not of
    this model, or of a kind that cannot be added."""
    from peft import PeftModel

    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    with _in_words(f"adapter {folder}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is raised below
        adapted: Any = PeftModel.from_pretrained(model, str(folder))
        found = adapted.load_adapter(str(folder), "default")
    if not hasattr(adapted, "merge_and_unload"):
        kind = adapted.peft_config["default"].peft_type
        raise UserError(
            f"{folder / ADAPTER_CONFIG}: peft_type={kind} cannot be added to the weights of its "
            "base model; give a LoRA adapter, or a whole model"
        )
    wrong = sorted([*found.missing_keys, *found.unexpected_keys])
    if wrong:
        raise UserError(
            f"{folder / ADAPTER}: {wrong[0]} is not in both the adapter and its base model"
            f"{_more(wrong)}; write the model that it was trained on into {ADAPTER_CONFIG} "
            "(base_model_name_or_path)"
        )
    merged = adapted.merge_and_unload().requires_grad_(True)
    for parameter in frozen:
        parameter.requires_grad_(False)
    return merged.eval()


def load_start(source: str | Path, revision: str | None = None) -> Any:
    """`load_model` for what many runs start from. A worker keeps such models (tiebreak/warm.py) and
    makes the next from its copy: the same weights, without the files."""
    key = _unchanging(source, revision)
    found = kept.get(key)
    if found is not None:
        return copy.deepcopy(found).to(device()).eval()
    before = torch.get_rng_state()
    model = load_model(source, revision)
    size = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    drew = not torch.equal(before, torch.get_rng_state())  # weights that the files lack, say
    if key is not None and not drew and kept.fits(size):
        kept.put(key, copy.deepcopy(model).cpu(), size)
    return model


def _unchanging(source: str | Path, revision: str | None) -> Hashable:
    """Names the files of a checkpoint as they are now; None for a Hub's that may become others."""
    folder = Path(source)
    if folder.is_dir():
        base = adapter_base(source)
        below = base and _unchanging(base.place, revision)
        files = stamps([*folder.glob("*.safetensors"), *folder.glob("*.json")])
        return None if base and below is None else ("model", files, below)
    fixed = revision is not None and re.fullmatch("[0-9a-f]{40}", revision)
    return ("model", str(source), revision) if fixed else None


def load_policy(start: str | Path, trained: Path, revision: str | None = None) -> Any:
    """What align left: full weights, or an adapter on the start model."""
    if not (trained / "adapter_config.json").is_file():
        return load_model(trained)
    from peft import PeftModel

    return PeftModel.from_pretrained(load_start(start, revision), str(trained)).eval()


def trainable(model: Any, train: TrainConfig) -> Any:
    """The model as it will be trained: itself, or with a fresh adapter that starts at zero."""
    if train.adapter is Adapter.NONE:
        return model
    from peft import LoraConfig, get_peft_model

    names = linear_layers(model)
    missing = [target for target in train.lora.targets if target not in names]
    if missing:
        raise UserError(
            f"train.lora.targets: {model.config.model_type} has no linear layer {missing[0]!r}; "
            f"it has {', '.join(names)}"
        )
    config = LoraConfig(
        r=train.lora.rank, lora_alpha=train.lora.alpha, target_modules=list(train.lora.targets),
        lora_dropout=0.0, task_type="CAUSAL_LM",
    )  # fmt: skip
    try:
        return get_peft_model(model, config)
    except ValueError as error:  # some layers PEFT refuses by name
        raise UserError(f"train.lora.targets=[{', '.join(train.lora.targets)}]: {error}") from error


def linear_layers(model: Any) -> list[str]:
    """Names of what an adapter can be put on: linear layers but the LM head, each by the last part
    of its name, or of the last two where that names something else too."""
    head, plain = lm_head(model), dict[str, bool]()
    for name, module in model.named_modules():
        linear = _is_linear(module)
        *_, before, last = ["", *name.rsplit(".", 2)]
        for ending in (last, f"{before}.{last}"):
            plain[ending] = plain.get(ending, True) and linear and module is not head
    return sorted(name for name, alone in plain.items()
                  if alone and not ("." in name and plain[name.rpartition(".")[2]]))  # fmt: skip


def _is_linear(module: Any) -> bool:
    """Routers and grouped layers are subclasses of a linear layer, and do more or other things."""
    from transformers.pytorch_utils import Conv1D

    if type(module).forward in (torch.nn.Linear.forward, Conv1D.forward):
        return True
    if not isinstance(module, torch.nn.Linear):
        return False
    states = torch.linspace(-1, 1, 2 * module.in_features).view(1, 2, -1).to(module.weight)
    with torch.no_grad():
        try:
            given = module(states)
        except FAILURES:
            return False
        own = torch.nn.functional.linear(states, module.weight, module.bias)
    return (
        isinstance(given, torch.Tensor)
        and given.shape == own.shape
        and given.allclose(own, 1e-3, 1e-5)
    )


def load_tokenizer(
    source: str | Path, revision: str | None = None, chat_template: str | None = None
) -> Any:
    """The tokenizer; `chat_template`: with that template, shipped under a name or a file."""
    from transformers import AutoTokenizer

    with _in_words(f"tokenizer of {source}"):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            tokenizer_place(source), revision=revision or "main", trust_remote_code=False
        )
        _refuse_unusable(tokenizer)
    if chat_template is not None:
        tokenizer.chat_template = read_template(chat_template)
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and "default" not in templates:
        raise UserError(
            f"tokenizer of {source}: no chat template is the default one, of "
            f"{', '.join(sorted(templates))}; write the one you mean into a file and give "
            "model.chat_template=FILE"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _refuse_unusable(tokenizer: Any) -> None:
    """Raises, in the words of a library or better ones, where a tokenizer is loaded and cannot
    encode: some settings are wrong only then."""
    if len(tokenizer) - len(tokenizer.added_tokens_decoder) < 2:  # marks alone
        raise OSError(_NO_WORDS)
    unknown = tokenizer.unk_token
    if unknown is not None and unknown not in tokenizer.get_vocab():
        raise OSError(f"its unk_token {unknown!r} is no token of its vocabulary")
    tokenizer.decode(tokenizer("a", verbose=False)["input_ids"])
