"""Whether a worker's memory stays flat over hundreds of runs.

    python benchmarks/flat_memory.py

One warm worker, as `tiebreak sweep` starts it, does run after run: several methods, with an adapter
or without, two scenarios, another seed each time round, everything tiny. After every 20 runs it
prints the worker's resident memory, and in the end the slope of a line through what comes after the
first 40 runs, when all libraries are loaded. The claim: less than 0.1 MiB a run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402

from tiebreak.compose import Run, compose  # noqa: E402
from tiebreak.run.task import command, payload  # noqa: E402

METHODS = ("dpo", "kto", "simpo", "orpo", "tdpo2", "tr-dpo", "beta-dpo", "rso", "sft")
WAYS = ("scenario=align-from-base", "scenario=sft-then-align", "train.adapter=lora")
SIZES = (
    "model.pretraining.documents=300 model.pretraining.hidden_size=32 "
    "model.pretraining.intermediate_size=64 model.pretraining.layers=2 "
    "model.pretraining.batch_size=32 data.num_pairs=96 data.num_test_pairs=16 "
    "data.num_demonstrations=32 evaluation.num_prompts=16 evaluation.max_new_tokens=24 "
    "train.batch_size=16 train.sft.batch_size=16 train.max_steps=1"
).split()
LIMIT = 0.1  # MiB a run
WARM = 40  # runs that may still load libraries and fill the cache


def runs(tracker: str = "none") -> Iterator[Run]:
    """Without end, none twice."""
    for seed in itertools.count(1):
        for way, method in itertools.product(WAYS, METHODS):
            if (way, method) != ("train.adapter=lora", "tr-dpo"):  # no adapter can follow it
                yield compose(
                    [*SIZES, f"tracker={tracker}", f"method={method}", way, f"seed={seed}"]
                )


def resident(process: int) -> float:
    """MiB."""
    said = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True)
    return int(said.stdout) / 1024


def measure(home: str, num: int, every: int, tracker: str) -> list[tuple[int, float]]:
    """(runs done, MiB) after each run; prints every so many."""
    found = []
    pipe, env = subprocess.PIPE, {**os.environ, "TIEBREAK_HOME": home, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command("run"), stdin=pipe, stdout=pipe, text=True, env=env) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        for done, run in zip(range(1, num + 1), runs(tracker), strict=False):
            worker.stdin.write(payload(run))
            worker.stdin.flush()
            answer = json.loads(worker.stdout.readline())
            assert "error" not in answer, answer
            found.append((done, resident(worker.pid)))
            if done % every == 0:
                print(f"{done:5} runs  {found[-1][1]:7.1f} MiB", flush=True)
    return found


def slope(found: Sequence[tuple[int, float]]) -> float:
    """MiB a run, by least squares."""
    runs_N, mib_N = np.array(found, dtype=float).T
    return float(np.polyfit(runs_N, mib_N, 1)[0])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="runs between two lines")
    parser.add_argument("--warm", type=int, default=WARM, help="runs that the slope leaves out")
    parser.add_argument("--tracker", choices=("none", "wandb"), default="none")
    args = parser.parse_args(argv)
    if args.every < 1 or args.warm < 0 or args.runs < args.warm + 2:
        parser.error(f"--runs {args.runs}: give --warm {args.warm} and two more at least")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as home:
        found = measure(home, args.runs, args.every, args.tracker)
    grown = slope(found[args.warm :])
    print(f"after the first {args.warm} runs: {grown:+.3f} MiB a run; the claim: less than {LIMIT}")
    return 0 if grown < LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
