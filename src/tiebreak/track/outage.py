"""W&B cannot be used: said once, and in a sweep also waited for once.

A sweep names a folder in the environment of its runs. The first run that cannot reach W&B leaves a
file there and says so; later ones do not try again. A run by itself has no folder and says it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from tiebreak.track import environment

FOLDER = "TIEBREAK_SWEEP_FOLDER"


class Loss(StrEnum):
    """What becomes of the mirror: a log for later, or nothing."""

    OFFLINE = "kept offline, for `wandb sync`"
    NOTHING = "not mirrored"


@contextmanager
def shared_by(folder: Path) -> Generator[None]:
    """Until the end, runs started here tell each other through `folder`."""
    for loss in Loss:
        _mark(folder, loss).unlink(missing_ok=True)
    before = {FOLDER: os.environ.get(FOLDER)}
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        environment.restore(before)


def known() -> Loss | None:
    """What an earlier run of this sweep found; the worse, if it found both."""
    folder = os.environ.get(FOLDER)
    found = [loss for loss in Loss if folder and _mark(Path(folder), loss).exists()]
    return found[-1] if found else None


def tell(why: str, loss: Loss) -> None:
    """Said by the first run of a sweep that meets it; never an error."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return say(f"{why}; this run is {loss}")
    try:
        _mark(Path(folder), loss).touch(exist_ok=False)
    except FileExistsError:
        return
    except OSError:
        pass  # a full disk: then each run says it
    say(f"{why}; from here on the runs of this sweep are {loss}")


def say(text: str) -> None:
    print(f"W&B: {text}", file=sys.stderr, flush=True)


def short(error: BaseException) -> str:
    """One line, and never the key."""
    text = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "***") if key else text


def _mark(folder: Path, loss: Loss) -> Path:
    return folder / f"wandb-{loss.name.lower()}"
