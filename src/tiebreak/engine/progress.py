"""One progress bar for all long work, on stderr; without a terminal, a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


def bar(what: str, total: int, done: int = 0) -> Any:
    """A tqdm bar; where nobody watches it speaks after 30 s and then every 30 s."""
    from tqdm import tqdm

    watched = sys.stderr.isatty()
    return tqdm(
        desc=what,
        total=total,
        initial=done,
        mininterval=0.2 if watched else 30,
        delay=0 if watched else 30,
        leave=watched,
        dynamic_ncols=watched,
    )


@contextmanager
def progress(what: str, total: int) -> Generator[Callable[[int], object]]:
    """Yields `advance(n)`."""
    with bar(what, total) as one:
        yield one.update


def quiet_trainer(trainer: Any, what: str) -> None:
    """Replace a Trainer's own bar and printed logs by this bar."""
    from transformers import PrinterCallback, ProgressCallback, TrainerCallback

    class Bar(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.is_world_process_zero:
                self.bar = bar(what, state.max_steps, state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.is_world_process_zero:
                self.bar.update(1)

        def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.is_world_process_zero:
                self.bar.close()

    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    trainer.add_callback(Bar())
