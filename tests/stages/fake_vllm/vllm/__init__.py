"""What a test needs of vLLM's documented offline API, on transformers: `LLM`, `SamplingParams` and
`vllm.lora.request.LoRARequest`, with no parameter that is not used here. One prompt at a time."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM


@dataclass(kw_only=True)
class SamplingParams:
    n: int
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    max_tokens: int
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool


class LLM:
    def __init__(
        self, *, model: str, skip_tokenizer_init: bool, dtype: str, seed: int,
        tensor_parallel_size: int, generation_config: str, max_model_len: int,
        gpu_memory_utilization: float, enable_lora: bool = False, max_lora_rank: int = 16,
    ) -> None:  # fmt: skip
        assert skip_tokenizer_init and generation_config == "vllm"
        self.longest, self.lora, self.rank = max_model_len, enable_lora, max_lora_rank
        kind = getattr(torch, dtype)
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=kind).eval()

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: list[SamplingParams], *,
        use_tqdm: bool, lora_request: Any = None,
    ) -> list[Any]:  # fmt: skip
        model = self.model
        if lora_request is not None:
            from peft import PeftModel

            assert self.lora, "enable_lora was not given"
            model = PeftModel.from_pretrained(model, lora_request.lora_path).eval()
            assert max(c.r for c in model.peft_config.values()) <= self.rank
        done = [self._one(model, prompt["prompt_token_ids"], how)
                for prompt, how in zip(prompts, sampling_params, strict=True)]  # fmt: skip
        if lora_request is not None:
            model.unload()
        return done

    def _one(self, model: Any, prompt: list[int], how: SamplingParams) -> Any:
        """One completion; the token it stops at is among its tokens."""
        assert len(prompt) + how.max_tokens <= self.longest
        assert (how.n, how.top_p, how.top_k, how.ignore_eos) == (1, 1.0, -1, True)
        generator = torch.Generator().manual_seed(how.seed or 0)
        ids, stopped = list(prompt), None
        while len(ids) < len(prompt) + how.max_tokens and stopped is None:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
            if how.temperature == 0:
                token = int(logits.argmax())
            else:
                chances = (logits / how.temperature).softmax(-1)
                token = int(torch.multinomial(chances, 1, generator=generator))
            ids.append(token)
            stopped = token if token in how.stop_token_ids else None
        said = SimpleNamespace(
            token_ids=tuple(ids[len(prompt) :]), stop_reason=stopped,
            finish_reason="length" if stopped is None else "stop",
        )  # fmt: skip
        return SimpleNamespace(outputs=[said])
