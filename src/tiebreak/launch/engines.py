"""Where a sweep's tasks are done, by name."""

from __future__ import annotations

from collections.abc import Sequence

from tiebreak.config.schema import Run
from tiebreak.errors import UserError, nearest
from tiebreak.launch.pool import Pool, default_workers
from tiebreak.launch.sweep import Engine

ENGINES = ("local",)


def workers_for(workers: int | None, runs: Sequence[Run]) -> int:
    """How many runs at once: as asked, else what this machine's cores allow."""
    return workers or default_workers(runs)


def engine_for(name: str, workers: int | None, runs: Sequence[Run]) -> Engine:
    """The engine, checked before the first run: an unknown name or a missing package is refused."""
    if name not in ENGINES:
        raise UserError(f"--engine {name}{nearest(name, ENGINES)}; there are {', '.join(ENGINES)}")
    return Pool(workers_for(workers, runs))
