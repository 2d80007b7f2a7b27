"""Positions through the network per unique token, ours and TRL's. A count: no model, no clock.

    python benchmarks/positions.py PAIRS.jsonl --tokenizer DIR --max-length 1024 --batch-size 8

A pair's unique tokens are its prompt, once, and both responses, after truncation. Ours: one epoch
of optimiser batches of --batch-size pairs, cut and laid out by the engine under conf/train/lora, in
the layouts `shared` and `separate`. TRL's: one shuffled epoch of micro-batches, laid out by its own
collator; of --batch-size pairs, and of the micro-batch (1, 2, 4, ... up to that) with the fewest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.common import PairSet, preset, read_pairs  # noqa: E402
from tiebreak.config.schema import Execution  # noqa: E402
from tiebreak.data.tokens import Tokens  # noqa: E402
from tiebreak.errors import UserError  # noqa: E402


def our_positions(
    tokens: Tokens, batch_size: int, seed: int, execution: Execution, layout: str = "shared"
) -> int:
    """Positions of every forward of one epoch, its padding included."""
    from tiebreak.engine import rows
    from tiebreak.engine.batches import plan_batches
    from tiebreak.engine.scorer import Scorer, TrainingData

    data, placed, overhead = TrainingData(tokens), rows.Layout(layout), execution.cut_overhead
    scorer = Scorer(data, 0, execution.positions_per_cut, overhead, placed)
    total = 0
    for batch in plan_batches(len(tokens), batch_size, 1.0, seed).steps:
        for part in scorer.cuts(batch):
            of_part = [data.branches(row) for row in part]
            total += rows.build(of_part, 0, layout=placed, overhead=overhead).positions
    return total


def trl_positions(tokens: Tokens, batch_size: int, seed: int, max_length: int) -> int:
    """Sum of 2B x T over every micro-batch of one epoch, order as Trainer's random sampler."""
    import torch
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    collator = DataCollatorForPreference(pad_token_id=0, max_length=max_length)
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed)).tolist()
    total = 0
    for at in range(0, len(order), batch_size):
        rows = [_trl_row(tokens, i) for i in order[at : at + batch_size]]
        total += collator(rows)["input_ids"].numel()
    return total


def _trl_row(tokens: Tokens, row: int) -> dict[str, list[int]]:
    chosen, rejected = tokens.responses[row]
    return {"prompt_ids": tokens.prompts[row], "chosen_ids": chosen, "rejected_ids": rejected}


def measure(pairs: PairSet, batch_size: int, seed: int, max_length: int) -> dict[str, object]:
    execution, unique = preset("lora").execution, pairs.unique_tokens()

    def ours(layout: str) -> float:
        return our_positions(pairs.tokens, batch_size, seed, execution, layout) / unique

    sizes = dict.fromkeys([*(2**n for n in range(batch_size.bit_length())), batch_size])
    trl = {n: trl_positions(pairs.tokens, n, seed, max_length) / unique for n in sizes}
    best = min(trl, key=lambda n: trl[n])
    return {
        "ours": ours("shared"),
        "ours_separate": ours("separate"),
        "trl": trl[batch_size],
        "trl_best": trl[best],
        "trl_best_micro_batch": best,
        "pairs": len(pairs.tokens),
        "dropped": pairs.dropped,
        "unique_tokens": unique,
        "batch_size": batch_size,
        "max_length": max_length,
        "cut_overhead": execution.cut_overhead,
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="pairs, .jsonl or .parquet")
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer")
    parser.add_argument("--max-length", type=int, default=1024, help="prompt and response, tokens")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="pairs: our optimiser batch, TRL's micro-batch"
    )
    parser.add_argument("--seed", type=int, default=0, help="of both orders")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"--batch-size {args.batch_size}: give 1 or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        pairs = read_pairs(args.data, args.tokenizer, args.max_length)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    found = measure(pairs, args.batch_size, args.seed, args.max_length)
    if args.json:
        print(json.dumps(found))
    else:
        print(
            f"positions per unique token: ours {found['ours']:.3f}, separate "
            f"{found['ours_separate']:.3f}; TRL {found['trl']:.3f}, at its best micro-batch "
            f"({found['trl_best_micro_batch']}) {found['trl_best']:.3f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
