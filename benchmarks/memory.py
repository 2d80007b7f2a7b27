"""Peak memory of a training step on 1, 2, 4 and 8 GPUs, without a GPU or weights, and the plan's.

    python benchmarks/memory.py                                    (10 minutes of one core)
    python benchmarks/memory.py --model small --gpus 2 --train full

Torch's tracker of FSDP2 memory follows two micro-batches of a step whose moments are there, with
fake tensors (shapes without values) in a fake process group. The step is laid out as a run on GPUs:
weights sharded over all GPUs by layer, float32 masters computed with in bfloat16 and gradients
reduced in float32 after each micro-batch; or, for LoRA, a bfloat16 base that is sharded and
float32 adapters that are not. Each micro-batch is one row of `--positions`, all of them scored by
the engine's chunked head. The attention is a stand-in that keeps what a fused kernel keeps:
queries, keys, values, result and one number per query and head. The optimiser's own step
is not tracked: a fused kernel takes no room of its own.

Beside it stands what `tiebreak plan --gpu` computes from the model's shape. Neither counts what
is no tensor: the CUDA context, libraries' workspaces, room lost between blocks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402
from torch import Tensor, distributed, nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker  # noqa: E402
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh  # noqa: E402
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

from tiebreak.config.schema import Lora  # noqa: E402
from tiebreak.engine.causal_lm import head_replaced  # noqa: E402
from tiebreak.engine.head import Hidden, token_scores  # noqa: E402
from tiebreak.plan.memory import HALF, Layout, Step, training  # noqa: E402
from tiebreak.plan.sizes import llama  # noqa: E402

GIB = 2**30
MODELS: dict[str, dict[str, int | bool]] = {  # keys of transformers' Llama
    "mistral-7b": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                   "tie_word_embeddings": False},
    "llama-3-8b": {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                   "tie_word_embeddings": False},
    "small": {"vocab_size": 8000, "hidden_size": 512, "intermediate_size": 1536,
              "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
              "tie_word_embeddings": False},
}  # fmt: skip
TARGETS: list[str] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class _Fused(torch.autograd.Function):
    """Keeps for the backward pass what a fused attention keeps; computes nothing."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:3], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(kept) for kept in ctx.saved_tensors[:3])


def _attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Any, **more: Any) -> Any:
    return _Fused.apply(q, k, v).transpose(1, 2).contiguous(), None


def _model(shape: dict[str, Any], rank: int, checkpointing: bool) -> Any:
    """The causal LM without values; rank: of adapters on all its layers, 0: all is trained."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register("stand-in", _attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register("stand-in", lambda *a, **k: None)
    config = LlamaConfig(max_position_embeddings=32768, **shape)
    config._attn_implementation = "stand-in"
    with torch.device("meta"):
        model: Any = LlamaForCausalLM._from_config(
            config, dtype=torch.bfloat16 if rank else torch.float32
        )
        if rank:
            from peft import LoraConfig, get_peft_model

            lora = LoraConfig(r=rank, target_modules=[*TARGETS], task_type="CAUSAL_LM")
            get_peft_model(model, lora)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model.train()


def _shard(model: Any, mesh: DeviceMesh) -> set[nn.Parameter]:
    """Give the model's tensors a size and split its weights over the mesh. Returns the adapters,
    which stay whole."""
    made: dict[Tensor, Tensor] = {}  # a head that is the embedding stays it
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None and tensor not in made:
                    empty: Tensor = torch.empty(tensor.shape, dtype=tensor.dtype)
                    weight = isinstance(tensor, nn.Parameter)
                    made[tensor] = nn.Parameter(empty, tensor.requires_grad) if weight else empty
                held[name] = None if tensor is None else made[tensor]
    adapters = {weight for name, weight in model.named_parameters() if "lora_" in name}
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    how: dict[str, Any] = {"mesh": mesh, "mp_policy": policy, "ignored_params": adapters}
    for part in (model.model.embed_tokens, *model.model.layers):
        fully_shard(part, **how)
    fully_shard([model.model.norm, model.lm_head], reshard_after_forward=False, **how)
    fully_shard(model, **how)
    return adapters


def measure(
    shape: dict[str, Any],
    gpus: int,
    rank: int = 0,
    positions: int = 8192,
    checkpointing: bool = True,
    chunk: int = 1024,
) -> dict[str, float]:
    """Peak bytes of one GPU by kind, in the tracker's words, and their sum "Total"."""
    distributed.init_process_group("fake", rank=0, world_size=gpus, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (gpus,))
        with FakeTensorMode():
            model = _model(shape, rank, checkpointing)
            return _tracked(model, _shard(model, mesh), positions, chunk)
    finally:
        distributed.destroy_process_group()


def _tracked(
    model: Any, adapters: set[nn.Parameter], positions: int, chunk: int
) -> dict[str, float]:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, foreach=False)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimiser.step()  # now the moments are there
    optimiser.zero_grad()
    kept = [*adapters, *(value for state in optimiser.state.values() for value in state.values())]
    ids, places = torch.zeros(1, positions, dtype=torch.long), torch.arange(positions)[None]
    plain = model.forward

    def forward() -> Tensor:
        with head_replaced(model, lambda states: states[..., :1].clone()) as given:
            plain(input_ids=ids, position_ids=places, use_cache=False)
        hidden = Hidden(given[0][0], model.lm_head.weight)
        return token_scores(hidden, ids[0], chunk).logp.sum()

    model.forward = forward
    tracker = FSDPMemTracker(model)
    tracker.track_inputs((ids, places, kept))  # what FSDP does not hold, nobody else counts
    with tracker:
        for _ in range(2):  # gradients of the first are there in the second
            model().backward()
    parts = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    return {str(kind).rpartition(".")[2]: float(count) for kind, count in parts.items()}


def formula(
    shape: dict[str, Any],
    gpus: int,
    rank: int = 0,
    positions: int = 8192,
    checkpointing: bool = True,
    chunk: int = 1024,
) -> dict[str, float]:
    """The plan's bytes of one GPU, by part; arguments as for `measure`."""
    model = llama(
        shape["vocab_size"], shape["hidden_size"], shape["intermediate_size"],
        shape["num_hidden_layers"], shape["num_attention_heads"],
        kv_heads=shape["num_key_value_heads"], tied=shape["tie_word_embeddings"],
    )  # fmt: skip
    adapter = model.adapter(Lora(rank=rank, alpha=rank, targets=tuple(TARGETS)))
    step = Step(positions, chunk, checkpointing)
    return training(model, step, Layout(gpus), HALF, adapter)


def cases(args: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """(train, GPUs, rank of the adapters or 0)."""
    for train in args.train:
        for gpus in args.gpus:
            yield train, gpus, args.rank if train == "lora" else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=MODELS, default="mistral-7b")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--train", choices=("full", "lora"), nargs="+", default=["full", "lora"])
    parser.add_argument("--rank", type=int, default=16, help="of LoRA's adapters")
    parser.add_argument("--positions", type=int, default=8192, help="of a micro-batch")
    parser.add_argument("--chunk", type=int, default=1024, help="positions at the LM head at once")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    keep = not args.no_checkpointing
    print(f"{args.model}, {args.positions} positions per micro-batch; GiB of one GPU")
    print(f"{'':<6}{'GPUs':>5}{'tracker':>9}{'formula':>9}{'off by':>8}")
    worst = 0.0
    for train, gpus, rank in cases(args):
        more = (MODELS[args.model], gpus, rank, args.positions, keep, args.chunk)
        real, planned = measure(*more)["Total"], sum(formula(*more).values())
        worst = max(worst, abs(planned / real - 1))
        off = f"{planned / real - 1:+.1%}"
        print(f"{train:<6}{gpus:>5}{real / GIB:>9.2f}{planned / GIB:>9.2f}{off:>8}", flush=True)
    print(f"furthest: {worst:.1%}; the claim: within 10 %")
    return 0 if worst <= 0.1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
