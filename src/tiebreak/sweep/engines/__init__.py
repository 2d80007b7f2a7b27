"""Where the tasks of a sweep are done: name -> engine, found in the files of this folder.

An engine NAME is a module NAME.py with the names of its SETTINGS (None: it checks them), whose
`engine(workers, runs, folder, settings)` gives an `Engine`, or refuses before the first run what
cannot work. workers: runs at once, None: the engine chooses; folder: for files of its jobs;
settings: what `--launcher KEY=VALUE` says. What it imports beyond tiebreak's own packages comes
with the extra tiebreak[NAME].
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.errors import UserError, nearest

if TYPE_CHECKING:
    from tiebreak.compose import Run
    from tiebreak.sweep.tasks import Engine

ENGINES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
WITH_WORKERS = "--engine local --workers N"
INSTEAD = {"basic": "--engine local --workers 1", "joblib": WITH_WORKERS,
           "submitit_local": WITH_WORKERS, "submitit_slurm": "--engine slurm"}  # fmt: skip


def engine_for(
    name: str, workers: int | None, runs: Sequence[Run], folder: Path, settings: Sequence[str] = ()
) -> Engine:
    """The engine of that name. UserError: an unknown name or setting, or a package is missing."""
    if name in INSTEAD:
        raise UserError(f"--engine {name} is no more; give {INSTEAD[name]}")
    if name not in ENGINES:
        raise UserError(f"--engine {name}{nearest(name, ENGINES)}; there are {', '.join(ENGINES)}")
    given = dict(map(_setting, settings))
    try:
        module = importlib.import_module(f"{__name__}.{name}")
        known = given if module.SETTINGS is None else module.SETTINGS
        for key in given:
            if key not in known:
                has = f"it has {', '.join(known)}" if known else "it has none; leave it out"
                hint = nearest(key, known)
                raise UserError(f"--launcher {key}: no setting of --engine {name}{hint}; {has}")
        return module.engine(workers, runs, folder, given)
    except ModuleNotFoundError as error:
        raise UserError(
            f"--engine {name} needs {error.name}; install it: pip install 'tiebreak[{name}]'"
        ) from None


def gpus_of(runs: Sequence[Run]) -> int:
    """How many GPUs each of these runs is to be given: one for each of its processes where it
    computes in bfloat16, the most that one of them needs; a run in float32 asks for none."""
    half = (run.train for run in runs if run.train.precision == "bfloat16")
    return max((train.execution.num_processes for train in half), default=0)


def _setting(item: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as Hydra's grammar reads it."""
    from tiebreak.config.compose import parse

    key, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"--launcher {item}: give KEY=VALUE, such as partition=gpu")
    parsed = parse(f"{key}={value}")
    return key, value if parsed.is_sweep_override() else parsed.value()  # a,b: a list of nodes
