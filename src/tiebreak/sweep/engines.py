"""Where a sweep's tasks are done, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiebreak.config.schema import Run
from tiebreak.errors import UserError, nearest
from tiebreak.sweep.local_workers import Pool, default_workers
from tiebreak.sweep.sweep import Engine

ENGINES = ("local", "basic", "joblib", "submitit_local", "submitit_slurm", "ray")


def workers_for(workers: int | None, runs: Sequence[Run]) -> int:
    """How many runs at once: as asked, else what this machine's cores allow."""
    return workers or default_workers(runs)


def engine_for(
    name: str,
    workers: int | None,
    runs: Sequence[Run],
    folder: Path,
    settings: Sequence[str] = (),
) -> Engine:
    """The engine, checked before the first run: an unknown name or a missing package is refused.

    folder: for the jobs of a launcher; settings: of the launcher, as KEY=VALUE.
    """
    if name not in ENGINES:
        raise UserError(f"--engine {name}{nearest(name, ENGINES)}; there are {', '.join(ENGINES)}")
    if name == "local":
        if settings:
            raise UserError(f"--launcher {settings[0]}: --engine local has no launcher; leave it")
        return Pool(workers_for(workers, runs))
    from tiebreak.sweep.hydra_engine import HydraEngine, check_launcher

    for one in settings:
        if "=" not in one:
            raise UserError(f"--launcher {one}: give KEY=VALUE, such as partition=gpu")
    check_launcher(name)
    count = 1 if name == "basic" else workers_for(workers, runs)
    return HydraEngine(name, count, folder, settings)
