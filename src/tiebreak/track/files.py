"""The files of a record that the mirror puts beside the history, so that W&B can be read back.

Plain run files, not artifacts: an artifact that a server could not take has been seen to end
wandb's process. `metrics.jsonl` is not among them, for it is the history; nor is `status.json`,
whose error may name a path of this machine.
"""

from __future__ import annotations

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
    items_file,
)

SENT = (CONFIG, MANIFEST, RESULT, PAIRS, PAIR_TOKENS, GENERATIONS)


def send(run: Any, folder: Path) -> None:
    """What is there of the record in `folder`, below `<run id>/`; the hashes, for filters; and
    the status, which W&B's own (finished or failed) does not tell."""
    try:
        manifest, status = read_manifest(folder), read_status(folder)
    except UserError as error:
        raise OSError(str(error)) from None
    run.config.update({"hashes": manifest["hashes"]}, allow_val_change=True)
    for path in [*(folder / name for name in SENT), *sorted(folder.glob(items_file("*")))]:
        if path.is_file():
            run.save(str(path), base_path=str(folder.parent), policy="now", glob=False)
    if status is not None:
        run.summary.update({"status": status["status"]})
