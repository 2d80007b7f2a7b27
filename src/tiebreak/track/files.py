"""The files of a record that the mirror puts beside the history, so that W&B can be read back.

Plain run files, not artifacts: an artifact that a server could not take has been seen to end
wandb's process. `metrics.jsonl` is not among them, for it is the history; nor is `status.json`,
whose error may name a path of this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiebreak.errors import UserError
from tiebreak.track.record import read_manifest, read_status
from tiebreak.track.record_format import (
    CONFIG,
    GENERATIONS,
    MANIFEST,
    PAIR_TOKENS,
    PAIRS,
    RESULT,
    THROUGHPUT,
    evaluation_folder,
    finished_evaluations,
    items_file,
)

SENT = (CONFIG, MANIFEST, THROUGHPUT)
MEASURED = (RESULT, PAIRS, PAIR_TOKENS, GENERATIONS, items_file("*"))
"""Names below the folder of each evaluation that has its result."""


def send(run: Any, folder: Path) -> None:
    """Send what the record in `folder` has of these files, below `<run id>/`.

    Into W&B's config go the hashes, for filters, and the ids of the evaluations; into its summary
    the status, which W&B's own (finished or failed) does not tell.
    """
    try:
        manifest, status = read_manifest(folder), read_status(folder)
    except UserError as error:
        raise OSError(str(error)) from None
    told = {"hashes": manifest["hashes"], "evaluations": finished_evaluations(folder)}
    run.config.update(told, allow_val_change=True)
    for path in _files(folder):
        run.save(str(path), base_path=str(folder.parent), policy="now", glob=False)
    if status is not None:
        run.summary.update({"status": status["status"]})


def _files(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in SENT if (folder / name).is_file())
    for evaluation in finished_evaluations(folder):
        inside = evaluation_folder(folder, evaluation)
        for pattern in MEASURED:
            yield from sorted(inside.glob(pattern))
