"""What the check of a model's own forward (`engine/probe.py`) costs of a run with LoRA.

    python benchmarks/probe.py PAIRS.jsonl --tokenizer DIR --pairs 500

One run of a small Llama with random weights, in this process: reference pass, DPO under
conf/train/lora, held-out pairs before and after. Counted is each token that goes through the
network, in every call of the check and in the rest; a backward pass counts nothing, so that the
shares are rather too large. Two checks come before the passes over the training rows, the claim is
about them; two more before the held-out pairs are scored. Wall time is that of the same calls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.errors import UserError  # noqa: E402

LIMIT = 0.02


@dataclass
class Check:
    """rows: that it chose from. positions, seconds: what it took."""

    rows: int
    positions: int = 0
    seconds: float = 0.0


@dataclass
class Cost:
    """What the checks took; and everything, the checks included."""

    checks: list[Check] = field(default_factory=list)
    positions: int = 0
    seconds: float = 0.0

    def share(self, of: str, training: bool) -> float:
        """Of the checks on the training rows, or on the others."""
        most = max(check.rows for check in self.checks)
        chosen = [check for check in self.checks if (check.rows == most) is training]
        return sum(getattr(check, of) for check in chosen) / getattr(self, of)


@contextlib.contextmanager
def counted() -> Generator[Cost]:
    """While it lasts, what goes through a network is counted."""
    from torch import nn

    from tiebreak.engine import probe

    cost, plain = Cost(), probe.probe
    open_check: list[Check] = []

    def checked(model: Any, branches: Any) -> Any:
        began, check = time.perf_counter(), Check(len(branches))
        open_check.append(check)
        try:
            return plain(model, branches)
        finally:
            check.seconds = time.perf_counter() - began
            cost.checks.append(open_check.pop())

    def note(module: nn.Module, given: Any) -> None:
        if isinstance(module, nn.Embedding):
            for counter in (cost, *open_check):
                counter.positions += given[0].numel()

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    began = time.perf_counter()
    try:
        with mock.patch.object(probe, "probe", checked):
            yield cost
    finally:
        cost.seconds = time.perf_counter() - began
        hook.remove()


def make_model(folder: Path, tokenizer_source: str, hidden_size: int) -> None:
    """A Llama of two layers with random weights, and the tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tiebreak.engine.models import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_source)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden_size, intermediate_size=2 * hidden_size,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run of the first --pairs pairs; held out are the --test-pairs after them."""
    from tiebreak.compose import compose
    from tiebreak.run.execute import execute

    lines = args.data.read_text("utf-8").splitlines()
    train, test = folder / "train.jsonl", folder / "test.jsonl"
    train.write_text("\n".join(lines[: args.pairs]))
    test.write_text("\n".join(lines[args.pairs : args.pairs + args.test_pairs]))
    make_model(folder / "model", args.tokenizer, args.hidden_size)
    os.environ["TIEBREAK_HOME"] = str(folder / "home")
    run = compose(
        [f"model={folder / 'model'}", f"data={train}", f"data.test={test}", "train=lora",
         "scenario=align-from-instruct", f"data.max_length={args.max_length}", "tracker=none",
         "data.max_dropped_share=1", "data.max_shared_prompts=1", "evaluation=short",
         "evaluation.evaluators=[pairs]", "train.precision=float32"]
    )  # fmt: skip
    with counted() as cost:
        execute(run)
    shares = {
        f"{of}/{name}": cost.share(of, training)
        for of in ("positions", "seconds")
        for name, training in (("training", True), ("held_out", False))
    }
    return shares | {
        "checks": [vars(check) for check in cost.checks],
        "positions": cost.positions,
        "pairs": args.pairs,
        "test_pairs": args.test_pairs,
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="pairs, .jsonl")
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--test-pairs", type=int, default=100, help="scored before and after")
    parser.add_argument("--max-length", type=int, default=1024, help="prompt and response, tokens")
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        try:
            # The run prints what it does; stdout is for the result.
            with contextlib.redirect_stdout(sys.stderr):
                found = measure(args, Path(folder))
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
    if args.json:
        print(json.dumps(found))
    else:
        training, held_out = (
            f"{found[f'positions/{name}']:.2%} of positions, {found[f'seconds/{name}']:.2%} of time"
            for name in ("training", "held_out")
        )
        print(
            f"a run of {found['pairs']} pairs: checks before reference and training {training}; "
            f"before {found['test_pairs']} held-out pairs, twice: {held_out}"
        )
    return int(found["positions/training"] > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
