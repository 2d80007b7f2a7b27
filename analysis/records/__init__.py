"""Where runs are read from: own records, W&B's offline logs, or a W&B server."""

from __future__ import annotations

from pathlib import Path

from tiebreak.errors import UserError
from tiebreak_analysis.records.folder import Folder
from tiebreak_analysis.records.source import Source

FORMS = "FOLDER (own records), wandb:FOLDER (offline logs), wandb-api:ENTITY/PROJECT"


def source_from(text: str) -> Source:
    """What `--source` names. UserError: no such folder, nothing in it, or none of the forms."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "wandb":
        return _logs(Path(rest))
    if colon and kind == "wandb-api":
        return _project(rest)
    folder = Path(text)
    if not folder.is_dir():
        raise UserError(f"--source {text!r}: no such folder; it may be {FORMS}")
    return _records(folder)


def _records(folder: Path) -> Source:
    from tiebreak.home import home, runs_dir

    return Folder(folder, cache_below(home()) if folder.resolve() == runs_dir() else None)


def cache_below(home: Path) -> Path:
    """The cache of a home's own runs. Other folders have none: nothing is written for them."""
    return home / ".tiebreak" / "cache"


def _logs(folder: Path) -> Source:
    from tiebreak_analysis.records.offline import PATTERN, OfflineLogs

    if not folder.is_dir():
        raise UserError(f"--source wandb:{folder}: no such folder")
    if not any(folder.glob(PATTERN)):
        raise UserError(
            f"--source wandb:{folder}: no W&B log in it; give the folder that holds "
            "offline-run-* (and run-*), usually wandb below the home"
        )
    return OfflineLogs(folder)


def _project(text: str) -> Source:
    from tiebreak_analysis.records.service import Project

    entity, _, project = text.partition("/")
    if not entity or not project or "/" in project:
        raise UserError(f"--source wandb-api:{text}: give wandb-api:ENTITY/PROJECT")
    return Project(entity, project)
