"""Both sides of the sweep benchmark: what they are given, how they run, where their time went.

A side has two lanes: ours two workers of one thread, TRL's two scripts of one thread at a time. The
seconds of both lanes together are split by row; what no row took (processes starting and ending,
records, a lane with nothing to do) is the rest.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiebreak.compose import Run
from tiebreak.data.examples import answer_of
from tiebreak.data.sources.source import DEMONSTRATIONS, TEST, TRAIN
from tiebreak.errors import UserError
from tiebreak.track.record_format import RESULT, evaluation_folder, finished_evaluations

ROOT = Path(__file__).resolve().parents[1]
LANES = 2
# The key that takes three values, and the values: the first is the method's default.
VALUES = {
    "dpo": ("beta", (0.1, 0.05, 0.01)),
    "ipo": ("tau", (0.1, 0.01, 0.5)),
    "kto": ("beta", (0.1, 0.05, 0.01)),
    "cpo": ("beta", (0.1, 0.05, 0.01)),
    "simpo": ("beta", (2.0, 2.5, 10.0)),
}
COMMON = ("tracker=none", "scenario=sft-then-align")
# What a lane's seconds go to: our stages, in the order they are built, and the script's phases.
ROWS = {
    "tokens": "data",
    "sft": "sft",
    "reference": "reference",
    "align": "training",
    "generations": "evaluation",
    "gold": "evaluation",
    "pairs": "evaluation",
}
SPLIT = ("imports", "data", "sft", "reference", "training", "evaluation, start model",
         "evaluation, policy", "waiting", "rest")  # fmt: skip
# Found by Python at its start: a worker's imports apart from the first stage that needs them.
HOOK = """
import os, sys, time
if "tiebreak.run.worker" in sys.orig_argv:
    began = time.perf_counter()
    import tiebreak.engine.trainer
    from transformers import AutoModelForCausalLM, GenerationConfig
    with open(os.environ["TIEBREAK_BENCHMARK_IMPORTS"], "a") as stream:
        stream.write(f"{time.perf_counter() - began}\\n")
"""
Split = dict[str, float]


@dataclass(frozen=True)
class Point:
    """One run: `setting` counts the method's values."""

    method: str
    setting: int
    seed: int

    @property
    def value(self) -> float:
        return VALUES[self.method][1][self.setting]


@dataclass(frozen=True)
class Block:
    """What one side did in one turn. reward: each run's gold reward, in the order of points."""

    seconds: float
    cpu_seconds: float
    split: Split
    reward: list[float]
    steps: list[int]


def prepare(folder: Path, run: Run, micro_batch: int) -> None:
    """base/, made once for both sides, and what the scripts read."""
    from tiebreak.stages.stage import Context, make
    from tiebreak.store import Store

    tuned = run.plan.start.stage
    assert tuned is not None, "COMMON asks for SFT of a model that is made here"
    base = make(tuned.parents["start"], Store(folder / "store"), Context(run))
    (folder / "base").symlink_to(base)
    data, evaluation = run.data, run.evaluation
    drawn = {
        "demonstrations": data.rows(DEMONSTRATIONS),
        "pairs": data.rows(TRAIN),
        "prompts": data.prompts(TEST, evaluation.num_prompts, evaluation.seed) or [],
    }
    names = {"demonstrations": ("completion",), "pairs": ("chosen", "rejected"), "prompts": ()}
    for file, examples in drawn.items():
        with (folder / f"{file}.jsonl").open("w") as stream:
            for one in examples:
                answers = zip(names[file], map(_turn, map(answer_of, one.responses)), strict=True)
                stream.write(json.dumps({"prompt": one.prompt, **dict(answers)}) + "\n")
    settings = {
        "sft": {**asdict(run.train.sft), "schedule": "cosine", "warmup_share": 0.1},
        "align": asdict(run.train),
        "evaluation": asdict(run.evaluation),
        "max_length": data.max_length,
        "micro_batch": micro_batch,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)


def _turn(answer: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": answer}]


def call(words: list[str], folder: Path) -> None:
    """A command of either side in a process of its own. UserError when it fails."""
    paths = [str(folder / "hook"), str(ROOT / "src"), str(ROOT)]
    environment = {
        "PYTHONPATH": os.pathsep.join(paths), "TIEBREAK_HOME": str(folder / "home"),
        "TIEBREAK_BENCHMARK_IMPORTS": str(folder / "imports"), "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled",
        "HF_DATASETS_CACHE": str(folder / "cache"), "TRL_EXPERIMENTAL_SILENCE": "1",
    }  # fmt: skip
    child = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True)
    if child.returncode != 0:
        end = "\n".join([*child.stdout.splitlines()[-5:], *child.stderr.splitlines()[-15:]])
        raise UserError(f"the command {' '.join(words)} failed:\n{end}")


def ours(points: list[Point], folder: Path, fixed: Sequence[str]) -> tuple[Split, list[Path]]:
    """One sweep: its split, and the records in the order of the points."""
    study = folder / "study.yaml"
    study.write_text(json.dumps(sweep_file(points, fixed)))  # JSON is YAML
    known, imports = set(folder.glob("home/runs/*")), folder / "imports"
    imports.write_text("")
    words = ["-m", "tiebreak.cli", "sweep", str(study), "--workers", str(LANES)]
    call([sys.executable, *words], folder)
    records = {}
    for record in set(folder.glob("home/runs/*")) - known:
        about = json.loads((record / "manifest.json").read_text())
        records[about["names"]["method"], about["seed"]] = record
    found = [records[point.method, point.seed] for point in points]
    split = add([stage_seconds(record, folder / "home" / "artefacts") for record in found])
    split["imports"] = sum(map(float, imports.read_text().split()))
    return split, found


def sweep_file(points: list[Point], fixed: Sequence[str]) -> dict[str, Any]:
    """The points of one setting as a study: methods times seeds."""
    own: dict[str, dict[str, Any]] = {
        point.method: {f"method.{VALUES[point.method][0]}": point.value} for point in points
    }
    if "cpo" in own:
        own["cpo"]["method.nll"] = "batch"  # as TRL has it
    seeds = sorted({point.seed for point in points})
    assert len(points) == len(own) * len(seeds)
    values = (one.partition("=") for one in (*COMMON, *fixed))
    return {"axes": {"method": list(own), "seed": seeds}, "settings": own,
            "fixed": {key: value for key, _, value in values}}  # fmt: skip


def stage_seconds(record: Path, artefacts: Path) -> Split:
    """Seconds of one run by row, from when its artefacts were published.

    What was there before costs nothing; what came from the other worker meanwhile was waited for.
    """
    order = list(ROWS)
    made = []
    for one in json.loads((record / "manifest.json").read_text())["stages"]:
        if one["stage"] in ROWS:
            file = artefacts / one["stage"] / one["key"] / "artefact.json"
            row = ROWS[one["stage"]]
            of_policy = json.loads(file.read_text())["inputs"].get("what") == "policy"
            if row == "evaluation":
                row += ", policy" if of_policy else ", start model"
            place = (order.index(one["stage"]), of_policy)
            made.append((place, file.stat().st_mtime, "waiting" if one["reused"] else row))
    split: Split = {}
    now = (record / "config.yaml").stat().st_mtime
    for _, published, row in sorted(made):
        split[row] = split.get(row, 0.0) + max(0.0, published - now)
        now = max(now, published)
    return split


def trl(points: list[Point], folder: Path) -> tuple[Split, list[Path]]:
    """The scripts, two at a time: their split, and where each left its result."""
    script = str(Path(__file__).with_name("trl_script.py"))

    def one(point: Point) -> Path:
        out = folder / "trl" / f"{point.method}-{point.value}-{point.seed}"
        out.mkdir(parents=True)
        words = ["--method", point.method, "--value", str(point.value), "--seed", str(point.seed)]
        call([sys.executable, script, str(folder), *words, "--out", str(out)], folder)
        return out

    with ThreadPoolExecutor(LANES) as pool:
        found = list(pool.map(one, points))
    return add([json.loads((out / "result.json").read_text())["seconds"] for out in found]), found


def measure(side: str, points: list[Point], folder: Path, fixed: Sequence[str]) -> Block:
    """One turn of one side."""
    began, cpu_began = time.perf_counter(), _children_cpu()
    split, found = ours(points, folder, fixed) if side == "ours" else trl(points, folder)
    seconds = time.perf_counter() - began
    split["rest"] = LANES * seconds - sum(split.values())
    results = [json.loads(result_file(side, one).read_text()) for one in found]
    steps = [
        len((one / "metrics.jsonl").read_text().splitlines()) if side == "ours" else row["steps"]
        for one, row in zip(found, results, strict=True)
    ]
    reward = [row["metrics"]["gold/reward"] for row in results]
    return Block(seconds, _children_cpu() - cpu_began, split, reward, steps)


def result_file(side: str, folder: Path) -> Path:
    """What a run measured; ours has one evaluation."""
    if side == "trl":
        return folder / "result.json"
    (evaluation,) = finished_evaluations(folder)
    return evaluation_folder(folder, evaluation) / RESULT


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def add(splits: Sequence[Split]) -> Split:
    return {row: sum(one.get(row, 0.0) for one in splits) for row in SPLIT if row != "rest"}
