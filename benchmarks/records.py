"""How long it takes to load many records, cold and warm, and to make a study's table of them.

    python benchmarks/records.py

Synthetic records, each with config, manifest, status, result, 256 questions, 256 pairs and a log
of 63 steps, below a temporary home. Each line is a process of its own: `cold` has no cache yet,
`warm` has it. The files themselves were just written and lie in the memory of the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.track.record_format import FORMAT, evaluation_folder, path_in_record  # noqa: E402

SCENARIOS = ("sft-then-align", "align-from-base", "align-from-instruct")
METHODS = "dpo ipo kto cpo simpo orpo rdpo dpop tdpo1 tdpo2 exo nca".split()
SEEDS = 5
STUDY = len(SCENARIOS) * len(METHODS) * SEEDS  # the runs of the first setting
QUESTIONS = 256
PARTS = ("faithfulness", "helpfulness", "length", "repetition", "reward", "tone")
EVALUATION = "e" * 12
VARIANTS = 40  # as many different outcomes; the rest of a record is its own


@dataclass(frozen=True)
class Outcome:
    """What a run measured: its tables as bytes, and the metrics that are their means."""

    files: dict[str, bytes]
    metrics: dict[str, float]
    start: dict[str, float]


def outcome(variant: int) -> Outcome:
    import numpy as np

    rng = np.random.default_rng(variant)
    ids = [f"prompt-0-{at:05d}" for at in range(QUESTIONS)]
    items: dict[str, Any] = {"id": ids}
    for part in PARTS:
        for when in ("before", "after"):
            items[f"{part}/{when}"] = rng.normal(0.5, 0.2, QUESTIONS)
    items |= {f"tokens/{when}": rng.integers(8, 64, QUESTIONS) for when in ("before", "after")}
    items["win"] = rng.choice([0.0, 0.5, 1.0], QUESTIONS)
    pairs: dict[str, Any] = {"id": ids, "edit_distance": rng.random(QUESTIONS)}
    for side in ("chosen", "rejected"):
        pairs[f"length/{side}"] = rng.integers(8, 64, QUESTIONS)
        for when in ("before", "after"):
            pairs[f"logp/{side}/{when}"] = rng.normal(-40, 5, QUESTIONS)
        pairs[f"drift/{side}"] = pairs[f"logp/{side}/after"] - pairs[f"logp/{side}/before"]
    metrics = {f"gold/{part}": float(np.mean(items[f"{part}/after"])) for part in PARTS}
    start = {f"gold/{part}": 0.5 for part in PARTS}
    for part in PARTS:  # the start model is one: every run measured the same
        items[f"{part}/before"] = np.full(QUESTIONS, 0.5)
    metrics["win_rate/start"] = float(np.mean(items["win"]))
    metrics["kl/reference"] = float(rng.gamma(2.0))
    log = [{"step": s, "loss": 0.7 / s, "drift/chosen": -0.1 * s} for s in range(1, 64)]
    files = {"items/gold.parquet": parquet(items), "pairs.parquet": parquet(pairs)}
    files["metrics.jsonl"] = "".join(json.dumps(row) + "\n" for row in log).encode()
    return Outcome(files, metrics, start)


def parquet(columns: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def points(count: int) -> Iterator[tuple[int, str, str, int]]:
    """setting, scenario, method, seed; the runs of one setting are a study."""
    settings = range(-(-count // STUDY))
    every = itertools.product(settings, SCENARIOS, METHODS, range(1, SEEDS + 1))
    return itertools.islice(every, count)


def write(runs_dir: Path, count: int) -> None:
    import yaml

    from tiebreak.compose import compose

    resolved = {k: v for k, v in compose([]).resolved.items() if k != "seed"}
    outcomes = [outcome(variant) for variant in range(VARIANTS)]
    for at, (setting, scenario, method, seed) in enumerate(points(count)):
        names = {"model": "tiny", "method": method, "scenario": scenario, "data": "world"}
        group = identity(scenario, method, setting)
        if seed == 1:
            own = {"method": {"name": method, "beta": 0.01 * (setting + 1)}}
            own["scenario"] = {**resolved["scenario"], "name": scenario}
            config = yaml.dump({**resolved, **own}, Dumper=yaml.CSafeDumper, sort_keys=False)
        ids = {"format": FORMAT, "run_id": identity(group, seed), "group_id": group, "seed": seed}
        put(
            runs_dir / ids["run_id"], ids, names, f"{config}seed: {seed}\n", outcomes[at % VARIANTS]
        )


def identity(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def put(
    folder: Path, ids: dict[str, Any], names: dict[str, str], config: str, made: Outcome
) -> None:
    hashes = {"data": "d" * 16, "model": identity(ids) * 4}
    model = identity(names["scenario"], names["scenario"].startswith("sft") and ids["seed"])
    hashes["start_model"] = model
    manifest = {**ids, "names": names, "hashes": hashes, "git": {"commit": "c" * 40}}
    manifest["versions"] = {f"package-{at}": "1.2.3" for at in range(16)}
    told = dict.fromkeys(["error", "last_checkpoint", "stage", "step", "steps"])
    how = {"evaluation": EVALUATION, "evaluators": {"gold": "e" * 16}}
    result = {
        **ids,
        **how,
        "metrics": made.metrics,
        "start": {"model": model, "metrics": made.start},
    }
    evaluation = evaluation_folder(folder, EVALUATION)
    (evaluation / "items").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    for name, content in (
        ("manifest.json", manifest),
        ("status.json", {"format": FORMAT, "status": "finished", **told}),
    ):
        (folder / name).write_text(json.dumps(content, indent=1))
    (evaluation / "result.json").write_text(json.dumps(result, indent=1))
    for name, content in made.files.items():
        (folder / path_in_record(name, EVALUATION)).write_bytes(content)


def phase(study: bool) -> dict[str, float]:
    """Seconds of each step, and the peak of memory, in this process."""
    from tiebreak.home import runs_dir
    from tiebreak_analysis.records.runs import load
    from tiebreak_analysis.tables.comparison import comparison
    from tiebreak_analysis.tables.rows import Planned
    from tiebreak_analysis.tables.text import markdown

    times: dict[str, float] = {}
    began = time.perf_counter()

    def step(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        times[name], began = round(now - began, 2), now

    runs = load(runs_dir())
    assert not runs.skipped, runs.skipped[:3]
    step("load")
    if study:
        wanted = {identity(identity(s, m, n), seed) for n, s, m, seed in points(STUDY)}
        planned = [Planned.of(record) for record in runs.records if record.run_id in wanted]
        text = markdown(comparison(runs, planned=planned))
        assert f"{min(STUDY, len(runs.records))} finished runs" in text
        step("table")
    else:
        assert len(runs.items()) == len(runs.pairs()) == QUESTIONS * len(runs.records)
        step("items and pairs")
        assert len(runs.frame) == len(runs.records)
        step("frame")
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = round(used.ru_utime + used.ru_stime, 2)  # imports too: other processes do not disturb it
    return {**times, "total": round(sum(times.values()), 2), "cpu": cpu,
            "peak MiB": used.ru_maxrss // 1024}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--phase", choices=["study", "all"], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.phase:
        return print(json.dumps(phase(args.phase == "study")))
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        write(Path(home) / "runs", args.records)
        print(f"{args.records} records written in {time.perf_counter() - began:.0f} s")
        for name in ("study", "study", "all", "all"):
            command = [sys.executable, __file__, "--phase", name]
            environment = {**os.environ, "TIEBREAK_HOME": home}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            print(f"{name:6} {done.stdout.strip()}", flush=True)
        cache = sum(p.stat().st_size for p in Path(home, ".tiebreak").rglob("*.feather"))
        print(f"cache: {cache / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
