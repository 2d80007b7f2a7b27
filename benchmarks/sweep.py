"""Wall time of 45 runs by `tiebreak sweep`, over that of the same 45 as scripts on stock TRL.

    python benchmarks/sweep.py

Five methods, three values of one hyper-parameter each, three seeds, on the controlled world's tiny
model: SFT, alignment, answers, gold reward. Ours: two workers of one thread. TRL: every run a
process (`benchmarks/trl_script.py`), two at a time, one thread each. The sides take turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.sweep_sides import (  # noqa: E402
    COMMON,
    LANES,
    SPLIT,
    VALUES,
    Block,
    Point,
    measure,
    prepare,
)
from tiebreak.compose import compose  # noqa: E402
from tiebreak.errors import UserError  # noqa: E402

SEEDS = (1, 2, 3)
PRETEND = tuple(
    "model.pretraining.documents=300 model.pretraining.hidden_size=32 "
    "model.pretraining.intermediate_size=64 model.pretraining.layers=2 "
    "model.pretraining.batch_size=32 data.num_pairs=32 data.num_test_pairs=8 "
    "data.num_demonstrations=32 evaluation.num_prompts=8 evaluation.max_new_tokens=8".split()
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=45, help="the first so many")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each setting, 1 to 3")
    parser.add_argument("--turn", type=int, default=15, help="runs before the other side's turn")
    parser.add_argument(
        "--trl-micro-batch", type=int, default=16, help="pairs in one forward of TRL's 16 a step"
    )
    parser.add_argument("--pretend", action="store_true", help="tiny sizes: shows that it works")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    if not 1 <= args.seeds <= len(SEEDS):
        parser.error(f"--seeds {args.seeds}: give 1 to {len(SEEDS)}")
    if args.trl_micro_batch not in (1, 2, 4, 8, 16):
        parser.error(f"--trl-micro-batch {args.trl_micro_batch}: give 1, 2, 4, 8 or 16")
    most = len(VALUES) * 3 * args.seeds
    for name, value in (("runs", min(args.runs, most)), ("turn", args.turn)):
        if value < 1 or (value > args.seeds and value % args.seeds):
            parser.error(f"--{name} {value}: give a multiple of the {args.seeds} seeds, or less")
    return args


def turns(num: int, size: int, seeds: int) -> list[list[Point]]:
    """The first `num` runs (settings, then methods, then seeds), cut into sweeps of `size`."""
    grid = itertools.product(range(3), VALUES, SEEDS[:seeds])
    points = [Point(method, setting, seed) for setting, method, seed in grid][:num]
    cut: list[list[Point]] = []
    for setting in range(3):
        own = [point for point in points if point.setting == setting]
        cut += [own[at : at + size] for at in range(0, len(own), size)]
    return cut


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns: ours first, then TRL first, and so on."""
    load_before = os.getloadavg()[0]
    sizes = PRETEND if args.pretend else ()
    blocks: dict[str, list[Block]] = {"ours": [], "trl": []}
    planned = turns(args.runs, args.turn, args.seeds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, compose([*COMMON, *sizes]), args.trl_micro_batch)
        fixed = (f"model={folder / 'base'}", *(s for s in sizes if not s.startswith("model.")))
        for number, points in enumerate(planned):
            for side in ("ours", "trl") if number % 2 == 0 else ("trl", "ours"):
                blocks[side].append(measure(side, points, folder, fixed))
    total = {side: sum(one.seconds for one in found) for side, found in blocks.items()}
    cpu = {side: sum(one.cpu_seconds for one in found) for side, found in blocks.items()}
    return {
        "ratio_wall_time": total["ours"] / total["trl"],
        "ratio_cpu_seconds": cpu["ours"] / cpu["trl"],
        "runs": sum(map(len, planned)),
        "seconds": total,
        "cpu_seconds": cpu,
        "lane_seconds": {side: {row: sum(one.split[row] for one in found) for row in SPLIT}
                         for side, found in blocks.items()},
        "turns": {side: [asdict(one) for one in found] for side, found in blocks.items()},
        "points": [[asdict(point) for point in points] for points in planned],
        "lanes": LANES,
        "trl_micro_batch": args.trl_micro_batch,
        "load_average": [load_before, os.getloadavg()[0]],
    }  # fmt: skip


def text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['runs']} runs, ours over TRL: {found['ratio_wall_time']:.2f} of the wall time, "
        f"{found['ratio_cpu_seconds']:.2f} of the CPU seconds",
        f"{'seconds of ' + str(LANES) + ' lanes':26}{'ours':>9}{'TRL':>9}{'saved':>9}",
    ]
    ours_s, trl_s = found["lane_seconds"]["ours"], found["lane_seconds"]["trl"]
    for row in SPLIT:
        lines.append(f"{row:26}{ours_s[row]:9.1f}{trl_s[row]:9.1f}{trl_s[row] - ours_s[row]:9.1f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        found = compare(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found) if args.json else text(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
