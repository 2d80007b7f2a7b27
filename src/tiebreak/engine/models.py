"""Load what training starts from, and what it left: safetensors only, no remote code."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from tiebreak.config.schema import Adapter, TrainConfig
from tiebreak.data.template import read_template
from tiebreak.errors import UserError
from tiebreak.store import stamps
from tiebreak.warm import kept

_REMEDY = "Give the folder of a checkpoint, a Hub id that this machine can reach, or fetch one"


def device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def autocast(precision: str) -> AbstractContextManager[Any]:
    """Mixed precision as training computes it; float32 switches it off."""
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16")


def load_model(source: str | Path, revision: str | None = None) -> Any:
    """A causal LM with float32 weights, on the device, in eval mode."""
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, revision=revision or "main", dtype=torch.float32, use_safetensors=True,
            attn_implementation="sdpa",
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(
            f"model {source} could not be loaded: {str(error).splitlines()[0]} {_REMEDY}"
        ) from error
    return model.to(device()).eval()


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
    if Path(source).is_dir():
        folder = Path(source)
        return "model", stamps([*folder.glob("*.safetensors"), *folder.glob("*.json")])
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

    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    missing = [target for target in train.lora.targets if target not in names]
    if missing:
        raise UserError(
            f"train.lora.targets: {model.config.model_type} has no module {missing[0]!r}; "
            f"it has {', '.join(sorted(n for n in names if n.endswith('_proj')))}"
        )
    config = LoraConfig(
        r=train.lora.rank, lora_alpha=train.lora.alpha, target_modules=list(train.lora.targets),
        lora_dropout=0.0, task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def load_tokenizer(
    source: str | Path, revision: str | None = None, chat_template: str | None = None
) -> Any:
    """The tokenizer; `chat_template`: with that template, shipped under a name or a file."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise UserError(
            f"tokenizer of {source} could not be loaded: {str(error).splitlines()[0]} {_REMEDY}"
        ) from error
    if chat_template is not None:
        tokenizer.chat_template = read_template(chat_template)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    end_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    seed: int,
    progress: Callable[[int], object] = lambda done: None,
) -> list[list[int]]:
    """One response per prompt, end token included when the model wrote one. temperature 0 decodes
    greedily; else samples from the whole distribution (no top-k or top-p)."""
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    # A checkpoint may ask for penalties and filters of its own; answers come from the model alone.
    model.generation_config = GenerationConfig()
    torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    responses: list[list[int]] = []
    for at in range(0, len(prompts), batch_size):
        part = prompts[at : at + batch_size]
        ids, mask = _left_padded(part, pad_id)
        output = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens, eos_token_id=list(end_ids), pad_token_id=pad_id,
            **(sampling if temperature > 0 else {"do_sample": False}),
        )  # fmt: skip
        responses += [_until_end(row, end_ids) for row in output[:, ids.shape[1] :].tolist()]
        progress(len(part))
    return responses


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def _until_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    ends = (place for place, token in enumerate(ids, start=1) if token in end_ids)
    return ids[: next(ends, len(ids))]
