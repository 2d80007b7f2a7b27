"""Answers requests with vLLM's offline API: `LLM.generate` on prompts of token ids.

Run by the Python of an environment that has vLLM; it imports nothing of tiebreak.

    PYTHON vllm_offline.py --model FOLDER [--adapter FOLDER] --requests FILE --answers FILE

A line of the requests has id, prompt_token_ids, max_new_tokens, temperature (0: greedy), seed and
end_token_ids; a line of the answers id and token_ids, the end token included. --version prints one
line with what the answers depend on: this script, vLLM, torch and the options below.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

VERSION = 1
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, that vLLM has kernels for


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a whole model")
    parser.add_argument("--adapter", default="", help="folder of a LoRA adapter on it, or nothing")
    parser.add_argument("--requests", required=True, type=Path)
    parser.add_argument("--answers", required=True, type=Path)
    parser.add_argument("--dtype", default="bfloat16", help="of weights and activations")
    parser.add_argument("--tensor-parallel-size", type=int, default=1, help="GPUs of one model")
    parser.add_argument("--max-model-len", type=int, help="tokens of prompt and answer; default: "
                        "the longest of the requests")  # fmt: skip
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.9)
    parser.add_argument("--together", type=int, default=512, help="requests between two writes")
    parser.add_argument("--version", action="store_true")
    return parser.parse_args(given)


def version(args: argparse.Namespace) -> str:
    """What the answers depend on, in one line."""
    found = {name: importlib.metadata.version(name) for name in ("vllm", "torch")}
    invariant = os.environ.get("VLLM_BATCH_INVARIANT") == "1"
    parts = (
        f"vllm_offline {VERSION}", f"vllm {found['vllm']}", f"torch {found['torch']}", args.dtype,
        f"GPUs {args.tensor_parallel_size}", f"batch-invariant {'yes' if invariant else 'no'}",
    )  # fmt: skip
    return " / ".join(parts)  # a comma would be two values in a sweep


def engine(args: argparse.Namespace, requests: Sequence[dict[str, Any]]) -> Any:
    """The model in vLLM, without a tokenizer: what comes and goes are token ids."""
    longest = max(len(one["prompt_token_ids"]) + one["max_new_tokens"] for one in requests)
    more = {"enable_lora": True, "max_lora_rank": _rank(Path(args.adapter))} if args.adapter else {}
    return importlib.import_module("vllm").LLM(
        model=args.model, skip_tokenizer_init=True, dtype=args.dtype, seed=0,
        tensor_parallel_size=args.tensor_parallel_size, generation_config="vllm",
        max_model_len=args.max_model_len or longest,
        gpu_memory_utilization=args.gpu_memory_utilization, **more,
    )  # fmt: skip


def _rank(adapter: Path) -> int:
    """The least rank that vLLM takes and this adapter fits into."""
    rank = json.loads((adapter / "adapter_config.json").read_text())["r"]
    fitting = [one for one in RANKS if one >= rank]
    if not fitting:
        sys.exit(f"{adapter}: rank {rank}, and vLLM takes adapters up to rank {RANKS[-1]}")
    return fitting[0]


def sampling(request: dict[str, Any]) -> Any:
    """vLLM's parameters of a request: the whole distribution, ended by its end tokens alone."""
    greedy = request["temperature"] == 0
    return importlib.import_module("vllm").SamplingParams(
        n=1, temperature=request["temperature"], top_p=1.0, top_k=-1,
        seed=None if greedy else request["seed"], max_tokens=request["max_new_tokens"],
        stop_token_ids=list(request["end_token_ids"]), ignore_eos=True, detokenize=False,
    )  # fmt: skip


def answers(args: argparse.Namespace, requests: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """The lines of the answers, so many at a time."""
    llm, lora = engine(args, requests), None
    if args.adapter:
        lora = importlib.import_module("vllm.lora.request").LoRARequest("policy", 1, args.adapter)
    for at in range(0, len(requests), args.together):
        part = requests[at : at + args.together]
        outputs = llm.generate(
            [{"prompt_token_ids": one["prompt_token_ids"]} for one in part],
            [sampling(one) for one in part], lora_request=lora, use_tqdm=False,
        )  # fmt: skip
        yield [
            json.dumps({"id": one["id"], "token_ids": token_ids(output.outputs[0])})
            for one, output in zip(part, outputs, strict=True)
        ]


def token_ids(output: Any) -> list[int]:
    """Of a completion; the end token that it stopped at is part of them."""
    ids, stopped_at = list(output.token_ids), output.stop_reason
    left_out = isinstance(stopped_at, int) and ids[-1:] != [stopped_at]
    return [*ids, stopped_at] if left_out else ids


def leave_with_stdin() -> None:
    """Nobody waits for the answers once the pipe on standard input has ended."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    args = arguments(sys.argv[1:])
    if args.version:
        return print(version(args))
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=leave_with_stdin, daemon=True).start()
    requests = [json.loads(line) for line in args.requests.read_text().splitlines()]
    with args.answers.open("a", encoding="utf-8") as file:
        for lines in answers(args, requests):
            file.write("".join(line + "\n" for line in lines))
            file.flush()


if __name__ == "__main__":
    main()
