"""Ctrl-C and SIGTERM: work on the host ends between two of its steps, and saves what there is.

Python raises KeyboardInterrupt between any two of its instructions: when a state has been taken,
but not its rows; or in a callback of XLA, which drops it. So a loop that can end runs in a block
of `deferred`, where a signal is only noted, and asks with `check`. Outside of such blocks the
exception comes at once; where it was dropped, the next `check` raises it.

SIGTERM, which batch systems send before they kill, does the same in a program (`handled`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

AT_ONCE_AFTER = 0.3
"""Seconds after which a second Ctrl-C is meant; some launchers pass the first one on twice."""

POLL = 0.2
"""Seconds between two checks while others work."""


@dataclass
class _Signals:
    depth: int = 0
    """Blocks of `deferred` around the main thread."""
    noted: int = 0
    """Signal that no check has raised yet; 0 for none."""
    first: int = 0
    """First signal of the program; 0 for none."""
    process: int = 0
    """Of the program."""


_signals = _Signals()


def check() -> None:
    """End the work here if that was asked for.

    Raises:
        KeyboardInterrupt: in the main thread, once for each signal.
    """
    if _signals.noted and _in_main_thread() and take():
        raise KeyboardInterrupt


def take() -> bool:
    """Was a signal noted? It then counts as seen."""
    noted, _signals.noted = bool(_signals.noted), 0
    return noted


def was_asked() -> bool:
    """Has the program been told to end?"""
    return bool(_signals.first)


def exit_status() -> int:
    """That of a program which ended because it was told to: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_signals.first or signal.SIGINT)


@contextmanager
def deferred() -> Iterator[None]:
    """A block in which Ctrl-C waits for the next `check`; a second one, in a script, does not."""
    if not _in_main_thread():
        yield
        return
    outermost = not _signals.depth and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if outermost:
        signal.signal(signal.SIGINT, _note)
    _signals.depth += 1
    noted = False
    try:
        yield
    finally:
        _signals.depth -= 1
        if outermost:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            noted = take()
    if noted:
        raise KeyboardInterrupt


def _note(signum: int, _: Any) -> None:
    if _signals.noted:
        raise KeyboardInterrupt
    _signals.noted = signum


@contextmanager
def handled() -> Iterator[None]:
    """A program: SIGTERM does what Ctrl-C does, and a second Ctrl-C ends it at once.

    Signals that are ignored already, e.g. by a shell that starts jobs in the background, stay so.
    """
    if not _in_main_thread():
        yield
        return
    _signals.first = _signals.noted = 0
    _signals.process = os.getpid()
    known = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN]
    before = {number: signal.signal(number, _press) for number in known}
    # Python calls handlers when XLA returns, which may take long; numbers are written at once.
    read, write = os.pipe()
    os.set_blocking(write, False)
    old = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        os.close(write)
        for number, handler in before.items():
            signal.signal(number, handler)


def handle_again() -> None:
    """Take SIGTERM back from a library that has put a handler of its own in the place of ours."""
    if _signals.process == os.getpid() and _in_main_thread():
        signal.signal(signal.SIGTERM, _press)


def _press(signum: int, _: Any) -> None:
    if os.getpid() != _signals.process:
        # A process that was forked from this one.
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    if _signals.first:
        return
    _signals.first = _signals.noted = signum
    if not _signals.depth:
        raise KeyboardInterrupt


def _watch(read: int) -> None:
    """In a thread: the second Ctrl-C ends the program, whatever it is doing."""
    first = None
    while number := os.read(read, 1):
        if first is None:
            first = time.monotonic()
            if _signals.depth:
                again = "; Ctrl-C again: at once" if number[0] == signal.SIGINT else ""
                os.write(2, f"mmtp: ends after the running step{again}\n".encode())
        elif number[0] == signal.SIGINT and time.monotonic() - first > AT_ONCE_AFTER:
            os.write(2, b"mmtp: ended at once\n")
            os._exit(128 + signal.SIGINT)
    os.close(read)


def as_completed(futures: Iterable[Future]) -> Iterator[Future]:
    """Futures as they end, like that of `concurrent.futures`, with a `check` in between."""
    waiting = set(futures)
    while waiting:
        check()
        done, waiting = wait(waiting, POLL, FIRST_COMPLETED)
        yield from done


def end_with_parent(group: bool = False) -> None:
    """Let this process, or its group, be killed when the one that started it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        if group:
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
