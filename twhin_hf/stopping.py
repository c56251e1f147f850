"""SIGTERM, which schedulers send, and SIGINT (Ctrl-C): a run saves what it has and ends.

The first signal ends a command where nothing is lost: training and network embedding finish their
step and save a checkpoint, everything else ends at once, as its results are whole or not there at
all. The exit status is 143 after SIGTERM and 130 after SIGINT. A second one ends the process as it
is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_ONE_SIGNAL_SECONDS = 1.0
"""Launchers send on what they get: repeats within this time are one signal."""


class StopRequest:
    """What a signal has asked for since a block began.

    Args:
        signum: The signal's number; None where none came.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def __bool__(self) -> bool:
        return self.signum is not None

    def leave(self) -> NoReturn:
        """Raises what ends the program with the signal's status."""
        if self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + int(self.signum or signal.SIGTERM))


@contextmanager
def stop_requests(what: str) -> Iterator[StopRequest]:
    """Signals only ask within the block: its owner looks, saves and leaves.

    Outside the main thread nothing is changed: signals do not reach it.

    Args:
        what: What is finished first, such as `the step`.

    Yields:
        The request, true from the first signal on.
    """
    request = StopRequest()

    def ask(signum: int) -> None:
        request.signum = signum
        name = signal.Signals(signum).name
        _tell(f"{name}: finishing {what}, then saving; once more leaves without\n")

    with _handled(ask):
        yield request


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGINT end the program tidily, and a second one at once."""
    request = StopRequest()

    def end(signum: int) -> None:
        request.signum = signum
        request.leave()

    with _handled(end):
        try:
            yield
        except Exception:
            # An engine that a signal came in the middle of raises an error of its own instead.
            if request:
                request.leave()
            raise


def leave_children() -> None:
    """Takes no more notice of processes of ours that end: torch would raise an error for each."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@contextmanager
def _handled(first: Callable[[int], None]) -> Iterator[None]:
    """Calls `first` for the first signal of this process; a second one ends it as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began: float | None = None

    def handler(signum: int, frame: object) -> None:
        nonlocal began
        if began is None:
            began = time.monotonic()
            first(signum)
        elif time.monotonic() - began > _ONE_SIGNAL_SECONDS:
            os._exit(128 + signum)

    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(signum, handler) for signum in signals]
    try:
        yield
    finally:
        for signum, old in zip(signals, before, strict=True):
            signal.signal(signum, old)


def _tell(text: str) -> None:
    """Writes past Python's buffers, which a signal may have come in the middle of."""
    os.write(2, text.encode())
