"""A sweep: many runs from one file, done by a few worker processes, each stage made once.

Finished runs are skipped, partial ones resumed, failed ones listed. Nothing is ordered in memory
that the store does not know: a second `tiebreak sweep` picks up wherever the first was killed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from tiebreak import provenance
from tiebreak.config.compose import GROUPS, compose
from tiebreak.config.identity import run_id
from tiebreak.config.schema import Run
from tiebreak.errors import UserError, nearest
from tiebreak.home import runs_dir, shipped
from tiebreak.launch.worker import command, payload
from tiebreak.track.record import is_finished


@dataclass
class Report:
    """What a sweep did."""

    total: int
    skipped: int = 0
    failed: list[tuple[Run, str]] = field(default_factory=list)
    artefacts: dict[tuple[str, str], bool] = field(default_factory=dict)

    def stages(self) -> dict[str, tuple[int, int]]:
        """Stage -> (artefacts built, artefacts found in the store)."""
        counts: dict[str, tuple[int, int]] = {}
        for (stage, _), reused in sorted(self.artefacts.items()):
            built, found = counts.get(stage, (0, 0))
            counts[stage] = (built + (not reused), found + reused)
        return counts


def expand(name: str, extra: Sequence[str] = ()) -> list[Run]:
    """The runs of `sweeps/NAME.yaml`, in the order they are best done."""
    plan = _read(name)
    axes, fixed = plan["axes"], [_override(k, v) for k, v in plan["fixed"].items()]
    points = itertools.product(*([(k, v) for v in values] for k, values in axes.items()))
    runs = [compose([*fixed, *_point(dict(point), plan["settings"]), *extra]) for point in points]
    unique = {run_id(run): run for run in runs}
    return list(unique.values())


def _point(point: dict[str, Any], settings: dict[str, dict[str, Any]]) -> list[str]:
    """One value of each axis, with what is set for its method alone."""
    own = settings.get(point.get("method", ""), {})
    return [_override(k, v) for k, v in {**point, **own}.items()]


def _read(name: str) -> dict[str, Any]:
    import yaml

    path = shipped("sweeps") / f"{name}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in shipped("sweeps").glob("*.yaml"))
        there = ", ".join(names)
        raise UserError(f"unknown sweep {name!r}{nearest(name, names)}; there are {there}")
    try:
        plan = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    plan = {"fixed": {}, "settings": {}, **plan} if isinstance(plan, dict) else {}
    for part in ("axes", "fixed", "settings"):
        if not isinstance(plan.get(part), dict):
            raise UserError(
                f"{path.name}: {part!r} must be a group of keys, as in arizona-mini.yaml"
            )
    for key in plan:
        if key not in ("axes", "fixed", "settings"):
            raise UserError(f"{path.name}: unknown key {key!r}; a sweep has axes, fixed, settings")
    for axis, values in plan["axes"].items():
        if axis.split(".")[0] not in (*GROUPS, "seed"):
            raise UserError(f"{path.name}: axis {axis!r}{nearest(axis, (*GROUPS, 'seed'))}")
        if not isinstance(values, list) or not values:
            raise UserError(f"{path.name}: axis {axis} is empty; give a list of values")
    for method, own in plan["settings"].items():
        if method not in plan["axes"].get("method", ()) or not isinstance(own, dict):
            raise UserError(
                f"{path.name}: settings.{method} must be keys and values for a method of the axes"
            )
    return plan


def _override(key: str, value: Any) -> str:
    """A value of YAML as Hydra reads it on a command line."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def default_workers(runs: Sequence[Run]) -> int:
    """One process per core where every run keeps to one core; else one, which may use them all."""
    single = all(run.train.execution.num_threads == 1 for run in runs)
    return provenance.cpus() if single else 1


def sweep(runs: Sequence[Run], workers: int, say: Callable[[str], None]) -> Report:
    """Do every run that is not finished. A failing run is reported and does not stop the rest."""
    report = Report(len(runs))
    waiting: SimpleQueue[Run] = SimpleQueue()
    for run in runs:
        if is_finished(runs_dir() / run_id(run)):
            report.skipped += 1
        else:
            waiting.put(run)
    left = len(runs) - report.skipped
    done = itertools.count(1)

    def work() -> None:
        with Worker() as worker:
            while True:
                try:
                    run = waiting.get_nowait()
                except Empty:
                    return
                answer = worker.do(run)
                _take(report, run, answer)
                words = answer.get("error", "done")
                say(f"[{next(done)}/{left}] {describe(run)}: {words}")

    if left:
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(work) for _ in range(min(workers, left))]:
                future.result()
    return report


def describe(run: Run) -> str:
    names = run.names
    return f"{names['scenario']} · {names['method']} · seed {run.seed} ({run_id(run)})"


def _take(report: Report, run: Run, answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        report.failed.append((run, answer["error"]))
    for stage, key, reused in answer.get("artefacts", []):
        at = (stage, key)
        report.artefacts[at] = report.artefacts.get(at, True) and reused


class Worker:
    """A child process that keeps torch imported between runs; replaced when it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def do(self, run: Run) -> dict[str, Any]:
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(payload(run))
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        code = self._end()
        if code < 0:
            return {"error": f"its process was killed by signal {-code} (out of memory?)"}
        return {"error": f"its process ended with code {code}; its trace is above"}

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command("run"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> int:
        """Close what the process reads, wait for it, and give its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code
