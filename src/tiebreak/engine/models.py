"""Load what training starts from, and what it left: safetensors only, no remote code."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from tiebreak.config.schema import Adapter, TrainConfig
from tiebreak.engine.causal_lm import forget_lengths, growing_rotary, lm_head
from tiebreak.engine.probe import FAILURES, TOLERANCE
from tiebreak.engine.scoring import causal_lm_of
from tiebreak.errors import UserError
from tiebreak.store import stamps
from tiebreak.warm import kept

CHECKED = 4  # tokens by which generation is compared with the model's own forward
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
    """The tokenizer, with the chat template of a file when `chat_template` names one."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, revision=revision or "main")
    except (OSError, ValueError) as error:
        raise UserError(
            f"tokenizer of {source} could not be loaded: {str(error).splitlines()[0]} {_REMEDY}"
        ) from error
    if chat_template is not None:
        path = Path(chat_template)
        if not path.is_file():
            raise UserError(f"model.chat_template={chat_template}: no such file")
        tokenizer.chat_template = path.read_text()
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
    greedily; else samples from the whole distribution (no top-k or top-p). UserError where the
    library's generation does not give what the model's own forward does."""
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    # A checkpoint may ask for penalties and filters of its own; answers come from the model alone.
    model.generation_config = GenerationConfig()
    padded, cached = _way_to_generate(model, prompts, pad_id, max_new_tokens)
    torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    responses: dict[int, list[int]] = {}
    for part in _together(prompts, batch_size, padded):
        ids, mask = _left_padded([prompts[i] for i in part], pad_id)
        output = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=cached,
            max_new_tokens=max_new_tokens, eos_token_id=list(end_ids), pad_token_id=pad_id,
            **(sampling if temperature > 0 else {"do_sample": False}),
        )  # fmt: skip
        found = output[:, ids.shape[1] :].tolist()
        responses |= {i: _until_end(row, end_ids) for i, row in zip(part, found, strict=True)}
        progress(len(part))
    return [responses[i] for i in range(len(prompts))]


def _together(prompts: Sequence[Sequence[int]], size: int, padded: bool) -> Iterator[list[int]]:
    """Numbers of the prompts of each batch; unless they may be padded, of one length."""
    length = (lambda i: 0) if padded else (lambda i: len(prompts[i]))
    for _, group in groupby(sorted(range(len(prompts)), key=length), length):
        numbers = list(group)
        yield from (numbers[at : at + size] for at in range(0, len(numbers), size))


def _way_to_generate(
    model: Any, prompts: Sequence[Sequence[int]], pad_id: int, max_new_tokens: int
) -> tuple[bool, bool]:
    """(prompts of several lengths at once, with a cache): the fastest that gives the log-probs of
    the model's own forward, on the shortest and the longest prompt."""
    by_length = sorted(prompts, key=len)
    pair = [by_length[0], *([by_length[-1]] if len(by_length[-1]) > len(by_length[0]) else [])]
    growing = growing_rotary(causal_lm_of(model))
    steps = max_new_tokens if growing else min(CHECKED, max_new_tokens)
    why: list[str] = []
    for padded, cached in ((True, True), (False, True), (False, False)):
        parts = [pair] if padded else [[one] for one in pair]
        try:
            off = max(_generation_off(model, part, pad_id, steps, cached) for part in parts)
        except FAILURES as error:
            why.append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            continue
        if off <= TOLERANCE:
            return padded, cached
        why.append(f"{off:.2g} nats off")
    raise UserError(
        f"model {causal_lm_of(model).config.model_type!r} cannot generate: what the library's "
        f"generation gives is not what its forward gives (in a batch: {why[0]}; one prompt: "
        f"{why[1]}; without a cache: {why[2]}); use another model, or "
        "evaluation.evaluators=[pairs], which generates nothing"
    )


def _generation_off(
    model: Any, prompts: Sequence[Sequence[int]], pad_id: int, steps: int, cached: bool
) -> float:
    """Largest difference in nats between log-probs in generation and in plain forwards."""
    device, causal_lm = next(model.parameters()).device, causal_lm_of(model)
    ids, mask = _left_padded(prompts, pad_id)
    worst = 0.0
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        out = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=cached,
            max_new_tokens=steps, do_sample=False, pad_token_id=pad_id,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        for i, prompt in enumerate(prompts):
            whole = out.sequences[i : i + 1, ids.shape[1] - len(prompt) : -1]
            forget_lengths(growing_rotary(causal_lm))
            own = model(input_ids=whole, use_cache=False).logits
            found_TV = torch.stack([step[i] for step in out.logits])
            tokens_T1 = out.sequences[i, ids.shape[1] :, None]
            own_T, found_T = (logits_TV.float().log_softmax(-1).gather(1, tokens_T1)
                              for logits_TV in (own[0, len(prompt) - 1 :], found_TV))  # fmt: skip
            worst = max(worst, float((own_T - found_T).abs().nan_to_num(torch.inf).max()))
    return worst


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


def _until_end(ids: list[int], end_ids: Sequence[int]) -> list[int]:
    ends = (place for place, token in enumerate(ids, start=1) if token in end_ids)
    return ids[: next(ends, len(ids))]
