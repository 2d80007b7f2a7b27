"""SIGTERM: raised once, or when a step is through; never lost."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tiebreak import interrupt
from tiebreak.interrupt import Stopped, deferred, installed


def tell() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_raised_once() -> None:
    """The last words of a run are not interrupted by the second signal."""
    before = signal.getsignal(signal.SIGTERM)
    with installed():
        assert not interrupt.requested()
        interrupt.check()
        with pytest.raises(Stopped):
            tell()
        tell()
        with pytest.raises(Stopped):  # in case something swallowed the first
            interrupt.check()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_new_block_has_forgotten_the_last() -> None:
    with installed(), pytest.raises(Stopped):
        tell()
    with installed():
        assert not interrupt.requested()


def test_training_ends_its_step_first() -> None:
    steps = []
    with installed(), pytest.raises(Stopped), deferred():
        for step in range(10):
            if step == 3:
                tell()
            steps.append(step)
            if interrupt.requested():
                break
    assert steps == [0, 1, 2, 3]


def test_a_block_that_waits_for_others_tells_them() -> None:
    told: list[str] = []
    with installed(), pytest.raises(Stopped), deferred(lambda: told.append("stop")):
        assert not told
        tell()
        tell()
        assert told == ["stop"] and interrupt.requested()


def test_an_error_of_that_step_goes_first() -> None:
    with installed(), pytest.raises(ValueError), deferred():
        tell()
        raise ValueError


def test_other_threads_leave_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with installed():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
