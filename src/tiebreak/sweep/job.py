"""The program of a cluster's job, `python -m tiebreak.sweep.job FOLDER NUMBER`, one task of a list.

FOLDER/tasks.jsonl has a line for each task; the reply goes to FOLDER/replies/NUMBER.json, and what
the run prints to FOLDER/NUMBER.log. The run is done in a child process, so that the reply can say
what killed it. On SIGTERM, or when there is a file FOLDER/stop, the run saves a checkpoint and the
job ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tiebreak.sweep.engines.local import Worker

TASKS, STOP, REPLIES = "tasks.jsonl", "stop", "replies"
WATCH_SECONDS = 0.5


def main() -> None:
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    if (folder / STOP).exists():
        return
    with (folder / f"{number}.log").open("a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    with contextlib.closing(Worker()) as worker:
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        threading.Thread(target=_watch, args=(folder / STOP, worker), daemon=True).start()
        reply = worker.do_line((folder / TASKS).read_text().splitlines()[number])
    path = folder / REPLIES / f"{number}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(reply))
    part.rename(path)  # whoever reads it reads all of it


def _watch(stop: Path, worker: Worker) -> None:
    while not stop.exists():
        time.sleep(WATCH_SECONDS)
    worker.stop()


if __name__ == "__main__":
    main()
