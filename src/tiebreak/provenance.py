"""Where a result came from: versions, commit, machine, time. No names, paths, variables or keys."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = (
    "accelerate", "datasets", "hydra-core", "lm-eval", "numpy", "omegaconf", "pandas", "peft",
    "pyarrow", "safetensors", "tiebreak", "tokenizers", "torch", "transformers", "trl", "wandb",
)  # fmt: skip
GIT_SECONDS = 20


def versions() -> dict[str, str]:
    """Installed version of Python and of each package that can change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git(root: Path | None) -> dict[str, Any]:
    """{"commit", "dirty"} of the checkout at `root`; both None when it is not a git checkout.
    `dirty` counts untracked files: a method that nobody committed is a change too."""
    if root is not None and (root / ".git").exists():  # never an enclosing repository's commit
        commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
        if commit is not None and changes is not None:
            return {"commit": commit, "dirty": bool(changes)}
    return {"commit": None, "dirty": None}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def host(devices: Sequence[str] = ()) -> dict[str, Any]:
    """The kind of machine, not which one. `devices`: names of accelerators, from who has torch."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": cpus(),
        "memory_gib": round(pages * page / 2**30, 1),
        "devices": list(devices),
    }


def cpus() -> int:
    """Cores this process may use, which inside a container or a SLURM job is not all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def now() -> str:
    """UTC, to the second: `2026-01-31T12:00:00Z`."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
