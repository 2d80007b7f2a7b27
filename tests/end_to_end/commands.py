"""The commands as tests call them: in this process, or in one of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forked import Popen

# The whole line in seconds: a model of some ten thousand weights, a hundred pairs.
MICRO = (
    "tracker=none model.pretraining.documents=300 model.pretraining.hidden_size=32 "
    "model.pretraining.intermediate_size=64 model.pretraining.layers=2 "
    "model.pretraining.batch_size=32 model.instruct_tuning.examples=64 data.num_pairs=96 "
    "data.num_test_pairs=16 data.num_demonstrations=96 evaluation.num_prompts=16 "
    "evaluation.max_new_tokens=24 train.learning_rate=5e-4 train.batch_size=16 train.epochs=1 "
    "train.sft.learning_rate=5e-4 train.sft.batch_size=16 train.sft.epochs=1 "
    "train.execution.checkpoint_every=2"
).split()
BASE = [*MICRO, "scenario=align-from-base"]  # one stage less
SAME_AGAIN = ("metrics.jsonl", "config.yaml")
MEASURED = {"result.json", "pairs.parquet", "pair_tokens.parquet", "generations.jsonl",
            "items/gold.parquet", "items/generations.parquet"}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code and the two streams."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> Path:
        return Path(self.out.split("record: ")[-1].strip())


Command = Callable[..., Answer]


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "PYTEST"))}
    return kept | {"TIEBREAK_HOME": str(home), "OMP_NUM_THREADS": "1"} | more


def start(home: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    return Popen(
        [sys.executable, "-m", "tiebreak.cli", *arguments],
        env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **more,
    )  # fmt: skip


def call(home: Path, *arguments: str, **more: Any) -> Answer:
    process = start(home, *arguments, **more)
    out, err = process.communicate()
    return Answer(process.returncode, out, err)


def only_run(home: Path) -> Path:
    (folder,) = (home / "runs").iterdir()
    return folder


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def evaluation_of(record: Path) -> Path:
    """The folder of a record's only evaluation."""
    (folder,) = (record / "evaluations").iterdir()
    return folder


def result_of(record: Path) -> Any:
    """What a record's only evaluation measured."""
    return read_json(evaluation_of(record) / "result.json")


def differing(one: Path, other: Path) -> list[str]:
    """Files of two records of the world that should be the same bytes and are not."""
    names = {f"{evaluation_of(one).relative_to(one)}/{name}" for name in MEASURED}
    left, right = (
        {p.relative_to(at).as_posix() for p in (at / "evaluations").rglob("*") if p.is_file()}
        for at in (one, other)
    )
    assert left == right == names
    same = [*SAME_AGAIN, *sorted(names)]
    return [name for name in same if (one / name).read_bytes() != (other / name).read_bytes()]


def slurm_is_up() -> bool:
    if shutil.which("sinfo") is None:
        return False
    asked = ["sinfo", "--noheader"], ["sacct", "--noheader"]
    return all(subprocess.run(one, capture_output=True).returncode == 0 for one in asked)
