"""Runs read back from a W&B server with `wandb.Api`: docs/wandb.md says how many questions it asks.

Tried against a small server of our own, never against W&B's service.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.errors import UserError
from tiebreak.track import environment
from tiebreak_analysis.records.mirrored import MirroredRun, gather, status_of
from tiebreak_analysis.records.record import Unreadable
from tiebreak_analysis.records.source import Row, Skipped

TIMEOUT = 30
"""Seconds that one question may take."""


@dataclass(frozen=True)
class ServerRun:
    """One run of a W&B project."""

    run: Any

    @property
    def name(self) -> str:
        return str(self.run.id)

    @property
    def config(self) -> Mapping[str, Any]:
        return self.run.config

    @property
    def status(self) -> str:
        """A crashed run is one that W&B has not heard of for some minutes: to us it was killed."""
        return status_of(self.run.summary_metrics, int(self.run.state == "failed"))

    def read(self, file: str) -> bytes:
        """FileNotFoundError: the run has no such file. OSError: it did not arrive."""
        path = f"{self.config['run_id']}/{file}"
        with _asking(OSError) as folder:
            found = list(self.run.files(names=[path]))
            if not found:
                raise FileNotFoundError(path)
            with found[0].download(root=str(folder), replace=True) as stream:
                return Path(stream.name).read_bytes()

    def rows(self) -> Iterable[Row]:
        with _asking(Unreadable):
            return list(self.run.scan_history(use_cache=False))


@dataclass(frozen=True)
class Project:
    """The runs of one W&B project, on the server that WANDB_BASE_URL names."""

    entity: str
    project: str

    @property
    def root(self) -> str:
        return f"{self.entity}/{self.project}"

    @property
    def cache(self) -> None:
        return None

    def entries(self) -> tuple[list[MirroredRun], list[Skipped]]:
        if not environment.has_key():  # wandb would ask for one, and wait
            raise UserError("wandb-api: no key; set WANDB_API_KEY, or use `wandb login`")
        return gather(Path(self.root), self._runs())

    def _runs(self) -> list[ServerRun]:
        """Oldest first."""
        import wandb

        with _asking(_NoProject):
            wandb.setup(wandb.Settings(silent=True))
            api = wandb.Api(timeout=TIMEOUT)
            try:
                return [ServerRun(run) for run in api.runs(self.root, lazy=False)]
            except ValueError as error:  # so says wandb of a project that is not there
                raise UserError(f"wandb-api:{self.root}: {error}") from None


class _NoProject(UserError):
    """The server did not answer, or refused the key."""


@contextmanager
def _asking(failure: type[Exception]) -> Generator[Path]:
    """A folder that takes what wandb writes while it asks; what it lets out becomes `failure`."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    with tempfile.TemporaryDirectory() as name:
        before = environment.use_folder(Path(name)) | {"WANDB_DIR": os.environ.get("WANDB_DIR")}
        os.environ["WANDB_DIR"] = name
        try:
            yield Path(name)
        except (wandb.Error, WandbApiFailedError) as error:
            raise failure(f"W&B: {' '.join(str(error).split())[:200]}") from None
        finally:
            environment.restore(before)
