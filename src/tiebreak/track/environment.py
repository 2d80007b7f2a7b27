"""What the environment says about W&B (a key, a mode), and which folders it may write to."""

from __future__ import annotations

import netrc
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

MODES = ("auto", "offline", "online", "disabled")
FOLDERS = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache"}


def mode(wanted: str) -> str:
    """W&B's own switch WANDB_MODE decides for `auto`, before a key does."""
    if wanted != "auto":
        return wanted
    asked = os.environ.get("WANDB_MODE")
    if asked in MODES[1:]:
        return asked
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
