"""Ctrl-C and SIGTERM: where they are noted, when they end the work, and when at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from mmtp_jax import interruption
from mmtp_jax.interruption import as_completed, check, deferred, handled


@contextmanager
def ended() -> Iterator[None]:
    """A block that is ended by KeyboardInterrupt."""
    with pytest.raises(KeyboardInterrupt):
        yield


def press(number: int = signal.SIGINT) -> None:
    signal.raise_signal(number)


def test_in_a_deferred_block_a_signal_waits_for_the_next_check() -> None:
    done = []
    with ended(), deferred(), deferred():
        press()
        done.append("step")
        check()
        done.append("never")
    assert done == ["step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with deferred():
        check()


def test_a_script_is_not_left_with_a_signal_that_no_check_has_seen() -> None:
    done = []
    with ended(), deferred():
        press()
        done.append("step")
    assert done == ["step"]
    # A second one does not wait.
    with ended(), deferred():
        press()
        press()
        done.append("never")
    assert done == ["step"]
    check()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_programs_take_both_signals(number, status) -> None:
    before = signal.getsignal(number)
    with handled():
        with ended():
            press(number)
        assert interruption.exit_status() == status
        assert interruption.was_asked()
    with handled():
        assert not interruption.was_asked()
        with ended(), deferred():
            press(number)
            check()
            pytest.fail("the check has not raised")
    assert signal.getsignal(number) is before


def test_what_a_callback_drops_is_raised_by_the_next_check(monkeypatch) -> None:
    """As XLA's callback of the garbage collection does."""

    class Drops:
        def __del__(self) -> None:
            press()

    with handled():
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        Drops()
        with ended():
            check()
        check()


def test_futures_are_waited_for_with_checks() -> None:
    first, never = Future(), Future()
    first.set_result(1)
    found = []
    with ended(), deferred():
        for future in as_completed([first, never]):
            found.append(future.result())
            press()
    assert found == [1]


def test_threads_do_not_take_the_signal_of_the_main_one() -> None:
    raised = []

    def work() -> None:
        try:
            check()
        except KeyboardInterrupt:
            raised.append(True)

    with ended(), deferred():
        press()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        check()
    assert not raised


_STUCK = """
import hashlib
from mmtp_jax.interruption import deferred, handled
with handled(), deferred():
    # The main thread is held in C, as by a long compilation.
    print("here", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""


def test_a_second_ctrl_c_ends_a_program_that_is_held_in_c() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "here\n"
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(program.pid, number)
        time.sleep(interruption.AT_ONCE_AFTER + 0.3)
    err = program.communicate(timeout=60)[1]
    assert program.returncode == 130
    assert err == "mmtp: ends after the running step\nmmtp: ended at once\n"
