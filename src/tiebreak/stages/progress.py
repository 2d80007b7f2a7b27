"""One progress bar for all long work, on stderr; quiet when nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int, initial: int = 0) -> Iterator[Callable[[int], object]]:
    """Yields `advance(n)`. Without a terminal a line is printed at most every 30 s."""
    from tqdm import tqdm

    watched = sys.stderr.isatty()
    interval = 0.2 if watched else 30
    with tqdm(
        total=total, desc=what, initial=initial, mininterval=interval, leave=watched,
        dynamic_ncols=watched, delay=0 if watched else 30,
    ) as bar:  # fmt: skip
        yield bar.update
