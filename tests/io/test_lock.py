"""Locks: who holds one is named, and it goes with its holder."""

from __future__ import annotations

import errno
import logging
import os
import threading

import pytest

from mmtp_jax.io import lock
from mmtp_jax.io.lock import locked


def _refused(path) -> str:
    """What another thread is told that wants the lock; empty if it has it."""
    said = []

    def work() -> None:
        try:
            with locked(path):
                said.append("")
        except ValueError as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return said[0]


@pytest.mark.parametrize("name", ["", "md.npz"], ids=["folder", "file"])
def test_one_holds_a_lock_at_a_time(tmp_path, name) -> None:
    path = tmp_path / name
    with locked(path):
        with locked(path):
            pass
        assert f"{path} is in use by process {os.getpid()} on " in _refused(path)
        assert _refused(tmp_path / "other") == ""
    assert _refused(path) == ""
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_leaves_locks_nothing(tmp_path) -> None:
    (tmp_path / ".lock").write_text("12345 on another machine")
    with locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_used_with_a_word(tmp_path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, "mmtp_jax"), locked(tmp_path):
        pass
    assert "cannot be locked here (No locks available)" in caplog.text


@pytest.mark.parametrize("name", ["none/run.extxyz", "/dev/null"])
def test_what_is_no_file_of_a_folder_is_not_locked(tmp_path, name) -> None:
    with locked(tmp_path / name):
        assert list(tmp_path.iterdir()) == []
