"""Makes the frozen home: what a version leaves that every later version must read.

    python tests/frozen/make.py FOLDER

It was run once, by the version that fixed ids and formats (0.1.0); tests/frozen/home is its result,
without locks. Run it again only for another frozen home beside that one. A sweep over two scenarios
and methods, a search, and LoRA on a checkpoint folder with a file of pairs, all of the smallest
model. Commands are given inside the folder, so that no path of a machine is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

SMALLEST = {
    "tracker": "none", "model.pretraining.documents": 200, "model.pretraining.hidden_size": 8,
    "model.pretraining.intermediate_size": 16, "model.pretraining.layers": 1,
    "model.pretraining.heads": 2, "model.pretraining.batch_size": 32, "data.num_pairs": 48,
    "data.num_test_pairs": 4, "data.num_demonstrations": 48, "evaluation.num_prompts": 4,
    "evaluation.max_new_tokens": 8, "train.learning_rate": 0.03, "train.batch_size": 16,
    "train.sft.batch_size": 16,
}  # fmt: skip
SWEEP = {
    "axes": {"scenario": ["align-from-base", "sft-then-align"], "method": ["dpo", "kto"],
             "seed": [1]},
    "fixed": SMALLEST,
}  # fmt: skip
SEARCH = {
    "axes": {"method": ["simpo"], "seed": [1]},
    "fixed": {**SMALLEST, "scenario": "align-from-base"},
    "search": {"trials": 2, "metric": "accuracy/likelihood"},
}
LORA = (
    "model=./model scenario=align-from-base data=pairs.jsonl train=lora evaluation=short "
    "tracker=none train.precision=float32 train.execution.num_threads=1 train.batch_size=8 "
    "train.max_steps=3 train.lora.rank=2 train.lora.targets=[q_proj,v_proj] data.max_length=128 "
    "evaluation.num_prompts=4 evaluation.max_new_tokens=8"
).split()


def tiebreak(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "TIEBREAK_HOME": str(folder), "PYTHONPATH": str(ROOT / "src"),
           "OMP_NUM_THREADS": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tiebreak.cli", *arguments], cwd=folder, env=env, text=True,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return done.stdout


def main(folder: Path) -> None:
    from tests.end_to_end.rows import checkpoint, pairs, write

    folder.mkdir(parents=True)
    for name, content in (("sweep.yaml", SWEEP), ("search.yaml", SEARCH)):
        (folder / name).write_text(json.dumps(content, indent=1))
    tiebreak(folder, "sweep", "sweep.yaml", "--workers", "2")
    tiebreak(folder, "sweep", "search.yaml", "--workers", "1")
    checkpoint(folder, folder / "model")
    write(folder / "pairs.jsonl", pairs(24))
    tiebreak(folder, "run", *LORA)
    for name in ("sweep", "search"):
        (folder / f"{name}.md").write_text(tiebreak(folder, "table", f"{name}.yaml"))
    locks = [path for path in folder.rglob("*") if path.suffix == ".lock" or path.name == ".lock"]
    for path in [*locks, *folder.glob(".tiebreak/sweeps/*/lock")]:
        path.unlink()
    for leftover in (folder / ".tiebreak" / "cache", folder / "results"):
        shutil.rmtree(leftover, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
