"""One progress bar for all long work, on stderr; without a terminal, a line now and then."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

from tiebreak.engine.processes import rank


def bar(what: str, total: int, done: int = 0) -> Any:
    """A tqdm bar on a terminal; elsewhere lines."""
    if not sys.stderr.isatty():
        return Lines(what, total, done)
    from tqdm import tqdm

    return tqdm(desc=what, total=total, initial=done, dynamic_ncols=True)


class Lines:
    """Progress for a log file: a line every 30 s, none for quick work."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self.what, self.total, self.done = what, total, done
        self.began = self.last = time.monotonic()

    def update(self, number: int = 1) -> None:
        self.done += number
        now = time.monotonic()
        if now - self.last >= 30:
            self.last = now
            took = f"{now - self.began:.0f} s"
            print(f"{self.what}: {self.done}/{self.total} ({took})", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to tidy up; a bar has this too."""


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Generator[Callable[[int], object]]:
    """Yields `advance(n)`. Of several processes the first shows it."""
    if rank() > 0:
        yield lambda number: None
        return
    with closing(bar(what, total, done)) as one:
        yield one.update


def quiet_libraries() -> None:
    """No telemetry, no chatter, no bars of others: progress is ours to show."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    # peft 0.21 asks transformers 5.23 for an attribute by its old name.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
