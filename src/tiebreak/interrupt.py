"""Being told to stop (SIGTERM): training saves a checkpoint first, anything else ends at once.

Schedulers and `tiebreak stop` send SIGTERM. A run that is stopped so goes on from where it was.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

_requested = False
_deferred: Callable[[], object] | None = None


class Pruned(Exception):
    """A search ended this run early: its metric is behind the others' at the same step."""


class Stopped(BaseException):
    """The process was told to stop. Not an error: nothing may swallow it."""


@contextmanager
def installed() -> Generator[None]:
    """Inside, SIGTERM raises `Stopped`, once, or waits for the end of a `deferred` block's step.

    Once: a scheduler tells the sweep and its workers, and the sweep tells its workers again, while
    they write their last words. `check` catches what a library may have swallowed.
    """
    global _requested
    _requested = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _requested = False


def requested() -> bool:
    """Whether to stop at the next safe place."""
    return _requested


def check() -> None:
    """A safe place: raises `Stopped` when it was requested."""
    if _requested:
        raise Stopped


@contextmanager
def deferred(tell: Callable[[], object] = lambda: None) -> Generator[None]:
    """Inside, a request waits: the block asks `requested()` and leaves when it has saved.

    `tell` is called as soon as there is one, for a block that waits for others.
    """
    global _deferred
    _deferred = tell
    try:
        if _requested:
            tell()
        yield
    finally:
        _deferred = None
    check()


def _handle(*_: object) -> None:
    global _requested
    again, _requested = _requested, True
    if again:
        return
    if _deferred is None:
        raise Stopped
    _deferred()
