"""How long a plan of 10,000 runs takes: expanded, compared with the store, and costed.

    python benchmarks/plan.py

A study of five methods, two scenarios, values of beta and seeds, on the controlled world. It goes
to `tiebreak plan` and `tiebreak status`, each a process of its own (starting Python is counted),
first with an empty store, then with one in which half of the runs are finished, with their records
and artefacts, and a quarter has a trained policy only. That store is made up: its records and keys
are real, its weights are empty. With `--seeds 1` every run has settings of its own, which takes the
longest. The claim: 10,000 runs in at most 10 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak import provenance  # noqa: E402
from tiebreak.compose import Run  # noqa: E402
from tiebreak.stages.stage import Stage, order  # noqa: E402
from tiebreak.store import FORMAT as STORE_FORMAT  # noqa: E402
from tiebreak.store import Store  # noqa: E402
from tiebreak.sweep.sweep_file import read_sweep_file  # noqa: E402
from tiebreak.track.record_format import FORMAT, evaluation_folder  # noqa: E402

METHODS = ("dpo", "kto", "cpo", "simpo", "nca")
SCENARIOS = ("align-from-base", "sft-then-align")
LIMIT = 10.0  # seconds
STEPS = 75


def study(runs: int, seeds: int) -> dict[str, Any]:
    """A sweep file of so many different runs."""
    betas = [round(0.001 * (i + 1), 3) for i in range(runs // (10 * seeds))]
    axes = {"scenario": SCENARIOS, "method": METHODS, "method.beta": betas,
            "seed": [*range(1, seeds + 1)]}  # fmt: skip
    return {"axes": axes, "fixed": {"model": "tiny", "data": "world", "tracker": "none"}}


class Filler:
    """Writes records and artefacts as finished runs leave them, but small."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store(root / "artefacts")
        self.records, self._made = 0, set()

    @property
    def artefacts(self) -> int:
        return len(self._made)

    def finish(self, run: Run) -> None:
        stages = run.plan.stages()
        for stage in stages:
            self.publish(stage)
        self.record(run, [{"stage": s.name, "key": s.key, "reused": False} for s in stages])

    def train(self, run: Run) -> None:
        """Killed after training: its policy is there, and no evaluation of it."""
        for stage in order([run.plan.tokens, run.plan.align], lambda stage: False):
            self.publish(stage)

    def publish(self, stage: Stage) -> None:
        if (stage.name, stage.key) in self._made:
            return
        self._made.add((stage.name, stage.key))
        folder = self.store.path(stage.name, stage.key)
        folder.mkdir(parents=True)
        files = {"model.safetensors": {"sha256": stage.key, "size": len(stage.key)}}
        (folder / "model.safetensors").write_text(stage.key)
        about = {"format": STORE_FORMAT, "stage": stage.name, "key": stage.key,
                 "inputs": stage.inputs, "files": files}  # fmt: skip
        (folder / "artefact.json").write_text(json.dumps(about))

    def record(self, run: Run, stages: list[dict[str, Any]]) -> None:
        import yaml

        self.records += 1
        folder = self.root / "runs" / run.run_id
        folder.mkdir(parents=True)
        manifest = {
            "format": FORMAT, "run_id": run.run_id, "group_id": run.group_id, "names": run.names,
            "seed": run.seed, "host": provenance.host(), "stages": stages,
            "times": {"started": "2026-01-31T12:00:00Z", "finished": "2026-01-31T12:02:00Z"},
        }  # fmt: skip
        status = {"format": FORMAT, "status": "finished", "stage": None, "step": None,
                  "steps": None, "error": None, "last_checkpoint": None}  # fmt: skip
        rows = [{"step": i + 1, "seconds": 0.5, "memory/peak": 700.0} for i in range(STEPS)]
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        (folder / "config.yaml").write_text(yaml.dump(run.resolved, Dumper=dumper))
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
        (folder / "status.json").write_text(json.dumps(status, indent=1))
        measured = evaluation_folder(folder, run.evaluation_id)
        measured.mkdir(parents=True)
        result = {"format": FORMAT, "evaluators": dict(run.evaluators), "metrics": {}}
        (measured / "result.json").write_text(json.dumps(result))
        (folder / "throughput.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def fill(root: Path, runs: Sequence[Run]) -> Filler:
    """Half of the runs finished and a quarter trained, drawn from all of them."""
    filler, order = Filler(root), random.Random(0).sample(runs, len(runs))
    for run in order[: len(runs) // 2]:
        filler.finish(run)
    for run in order[len(runs) // 2 : len(runs) * 3 // 4]:
        filler.train(run)
    return filler


def timed(home: Path, *arguments: str) -> tuple[float, float, str]:
    """(seconds by the clock, CPU seconds, first line) of a command of tiebreak."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tiebreak.cli", *arguments],
        env={**os.environ, "TIEBREAK_HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    clock, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, cpu, done.stdout.splitlines()[0]


def measure(home: Path, file: Path) -> float:
    """Prints what each command took; the slowest by the clock."""
    slowest = 0.0
    for command in ("plan", "status"):
        clock, cpu, said = timed(home, command, str(file))
        print(f"  tiebreak {command:<6} {clock:6.2f} s, {cpu:6.2f} s of CPU  {said}", flush=True)
        slowest = max(slowest, clock)
    return slowest


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=100, help="of each setting")
    args = parser.parse_args(argv)
    each = 10 * args.seeds
    if args.seeds < 1 or args.runs < each or args.runs % each:
        parser.error(
            f"--runs {args.runs}: give a multiple of {each}, 10 cells of {args.seeds} seeds"
        )
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        file = home / "big.yaml"
        file.write_text(json.dumps(study(args.runs, args.seeds)))
        print(f"{args.runs} runs, {args.seeds} seeds of each setting; an empty store")
        slowest = measure(home, file)
        filled = fill(home, read_sweep_file(str(file)).runs())
        print(f"a store of {filled.records} finished records and {filled.artefacts} artefacts")
        slowest = max(slowest, measure(home, file))
    print(f"slowest: {slowest:.2f} s; the claim for 10,000 runs: at most {LIMIT:g} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
