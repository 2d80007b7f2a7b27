"""What the environment says about W&B, which folders it may write to, and what was lost of it. The
first run of a sweep that cannot reach W&B says so, and leaves a file in a folder that the sweep
names in the environment of its runs; later ones do not try again. A run by itself only says it.
"""

from __future__ import annotations

import netrc
import os
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

MODES = ("auto", "offline", "online", "disabled")
FOLDERS = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}
FOLDER = "TIEBREAK_SWEEP_FOLDER"


def mode(wanted: str) -> str:
    """W&B's own switch WANDB_MODE decides for `auto`, before a key does."""
    mode = os.environ.get("WANDB_MODE", "") if wanted == "auto" else wanted
    if mode in MODES[1:]:
        return mode
    return "online" if has_key() else "offline"


def is_agents() -> bool:
    """Whether `wandb agent` started this process; it then has chosen the W&B run and project."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def has_key() -> bool:
    """A key in WANDB_API_KEY, or one that `wandb login` left for this server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    file = os.environ.get("NETRC") or "~/.netrc"
    try:
        return netrc.netrc(os.path.expanduser(file)).authenticators(server) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def use_folder(folder: Path) -> dict[str, str | None]:
    """Keep wandb out of the user's home; the environment as it was, to put back."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # wandb itself would go elsewhere without a word
        pass
    ours = {n: os.environ.get(n) or str(folder / f".{sub}") for n, sub in FOLDERS.items()}
    reporting = os.environ.get("WANDB_ERROR_REPORTING")
    ours["WANDB_ERROR_REPORTING"] = reporting or "false"  # tracebacks name paths
    before = {name: os.environ.get(name) for name in ours}
    restore(ours)
    return before


def restore(values: Mapping[str, str | None]) -> None:
    """Set each variable to its value; None takes it away."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


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
    restore({FOLDER: str(folder)})
    try:
        yield
    finally:
        restore(before)


def known_loss() -> Loss | None:
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
