"""Pairs per second and peak memory of DPO, ours over TRL's, measured in turns in one run.

    python benchmarks/throughput.py --model DIR --data PAIRS.jsonl --pairs 48 --lora

Each measurement is a process of its own: ours, TRL, ours, TRL. TRL runs at its fastest setting,
found in short pilots: micro-batches of 1, 2, 4 and 8 pairs with gradients accumulated to the same
optimiser batch, then its reference as it comes or computed ahead. Ratios are medians over repeats
of ours over TRL's neighbouring measurement. `benchmarks/sides.py` says what the clock covers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.errors import UserError  # noqa: E402

MICRO_BATCHES = (1, 2, 4, 8)
Result = dict[str, Any]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="folder of a model with its tokenizer")
    parser.add_argument("--data", type=Path, required=True, help="pairs, .jsonl or .parquet")
    parser.add_argument("--pairs", type=int, default=48, help="pairs to train on, one epoch")
    parser.add_argument("--lora", action="store_true", help="conf/train/lora, else conf/train/full")
    parser.add_argument("--max-length", type=int, default=1024, help="prompt and response, tokens")
    parser.add_argument("--batch-size", type=int, default=16, help="pairs per optimiser step")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side")
    parser.add_argument("--trl-micro-batch", type=int, help="fix it (default: the fastest)")
    parser.add_argument(
        "--trl-reference", choices=("live", "ahead"), help="fix it (default: the faster)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which pairs, and both orders")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--side", choices=("ours", "trl"), help="measure one side, in this process")
    args = parser.parse_args(argv)
    for name in ("pairs", "batch_size", "repeats", "trl_micro_batch"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: give 1 or more")
    if args.batch_size % (args.trl_micro_batch or 1):
        parser.error(
            f"--trl-micro-batch {args.trl_micro_batch} does not divide --batch-size "
            f"{args.batch_size}"
        )
    return args


def measure_here(args: argparse.Namespace) -> Result:
    """`--side`: what a child process does."""
    from benchmarks.sides import Task, measure

    task = Task(
        args.model, args.data, args.pairs, args.lora, args.max_length, args.batch_size, args.seed,
        args.trl_micro_batch or 1, args.trl_reference == "ahead",
    )  # fmt: skip
    # Trainers print to stdout, which is for the result.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        return measure(args.side, task, Path(folder))


def command(args: argparse.Namespace, side: str, **changes: Any) -> list[str]:
    """The command line that measures one side."""
    values = vars(args) | {"side": side} | changes
    words = [sys.executable, str(Path(__file__).resolve())]
    names = ("side", "model", "data", "pairs", "max_length", "batch_size", "seed")
    for name in (*names, "trl_micro_batch", "trl_reference"):
        if values[name] is not None:
            words += [f"--{name.replace('_', '-')}", str(values[name])]
    return words + (["--lora"] if args.lora else [])


def measure_child(words: list[str]) -> Result:
    """Run one measurement in a fresh process. UserError when it fails."""
    with tempfile.TemporaryDirectory() as cache:
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": cache, "WANDB_MODE": "disabled"}
        child = subprocess.run(words, env=os.environ | offline, capture_output=True, text=True)
    if child.returncode != 0:
        end = "\n".join(child.stderr.splitlines()[-15:])
        raise UserError(f"the command {' '.join(words)} failed:\n{end}")
    return json.loads(child.stdout.splitlines()[-1])


def choose(args: argparse.Namespace) -> tuple[dict[str, Any], list[Result]]:
    """TRL's fastest setting, and the pilots that say so: one optimiser batch each."""
    pilots: list[Result] = []

    def fastest(settings: list[dict[str, Any]]) -> dict[str, Any]:
        if len(settings) == 1:
            return settings[0]
        speeds = []
        for setting in settings:
            pairs = min(args.pairs, args.batch_size)
            found = measure_child(command(args, "trl", pairs=pairs, **setting))
            pilots.append(setting | {"pairs_per_second": found["pairs_per_second"]})
            speeds.append(found["pairs_per_second"])
        return settings[speeds.index(max(speeds))]

    sizes = [n for n in MICRO_BATCHES if args.batch_size % n == 0]
    sizes = [args.trl_micro_batch] if args.trl_micro_batch else sizes
    first = args.trl_reference or "live"
    best = fastest([{"trl_micro_batch": n, "trl_reference": first} for n in sizes])
    if args.trl_reference is None:
        best = fastest([best | {"trl_reference": kind} for kind in ("live", "ahead")])
    return best, pilots


def compare(args: argparse.Namespace) -> Result:
    """Both sides in turns, and the ratios."""
    load_before = os.getloadavg()[0]
    setting, pilots = choose(args)
    ours: list[Result] = []
    trl: list[Result] = []
    for _ in range(args.repeats):
        ours.append(measure_child(command(args, "ours")))
        trl.append(measure_child(command(args, "trl", **setting)))
    return {
        "ratio_pairs_per_second": ratio(ours, trl, "pairs_per_second"),
        "ratio_peak_memory": ratio(ours, trl, "peak_memory_mib"),
        "ours": ours,
        "trl": trl,
        "trl_setting": setting,
        "trl_pilots": pilots,
        "lora": args.lora,
        "batch_size": args.batch_size,
        "max_length": args.max_length,
        "load_average": [load_before, os.getloadavg()[0]],
    }


def ratio(ours: Sequence[Result], trl: Sequence[Result], name: str) -> float:
    """Median over repeats of ours divided by TRL's measurement beside it."""
    return statistics.median(a[name] / b[name] for a, b in zip(ours, trl, strict=True))


def text(found: Result) -> str:
    lines = [
        f"ours over TRL: {found['ratio_pairs_per_second']:.2f} x the pairs per second, "
        f"{found['ratio_peak_memory']:.2f} x the peak memory"
    ]
    for side in ("ours", "trl"):
        for one in found[side]:
            lines.append(
                f"{side:5} {one['pairs_per_second']:8.3f} pairs/s {one['peak_memory_mib']:8.0f} MiB"
                f"  reference {one['reference_seconds']:.1f} s, steps {one['train_seconds']:.1f} s"
            )
    return "\n".join([*lines, f"TRL's setting: {found['trl_setting']}"])


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        found = measure_here(args) if args.side else compare(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found) if args.json or args.side else text(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
