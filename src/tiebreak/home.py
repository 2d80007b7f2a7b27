"""Where things are: the checkout (or the installed package), and the folder that takes output."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from tiebreak.errors import UserError

PACKAGE = Path(__file__).resolve().parent


@functools.cache
def checkout() -> Path | None:
    """The checkout this package runs from, or None when it was installed from a wheel."""
    root = PACKAGE.parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "conf").is_dir() else None


def shipped(folder: str) -> Path:
    """A folder of files that travel with the project: `conf` or `sweeps`."""
    root = checkout()
    return (root if root is not None else PACKAGE) / folder


def home() -> Path:
    """All output goes below this: TIEBREAK_HOME, else the checkout, else the current directory."""
    chosen = os.environ.get("TIEBREAK_HOME")
    return Path(chosen).expanduser().resolve() if chosen else checkout() or Path.cwd()


def runs_dir() -> Path:
    return home() / "runs"


def artefacts_dir() -> Path:
    return home() / "artefacts"


def checkpoint_folder(source: str) -> Path | None:
    """The local folder of a checkpoint or adapter, or None when `source` is a Hub id.
    `fetched:NAME` is what `tiebreak fetch NAME` left below the home."""
    name = source.removeprefix("fetched:")
    if name != source:
        folder = home() / "models" / name
        if not (folder / "config.json").is_file():
            raise UserError(f"model {name} is not fetched yet; run: tiebreak fetch {name}")
        return folder
    folder = Path(source)
    if folder.is_dir():
        if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise UserError(f"{source} has no config.json; give the folder of a checkpoint")
        return folder.resolve()
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UserError(f"checkpoint {source!r}: no such folder, and not a Hub id ORG/NAME")
    return None
