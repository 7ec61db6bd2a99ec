"""Files that appear whole: what a killed process leaves, and what a full disk does."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtp_jax.io import atomic
from mmtp_jax.io.atomic import WriteError, atomic_write, backup_place, writing
from mmtp_jax.io.trajectory import append

_DIES = """
import os, signal, sys
from mmtp_jax.io.atomic import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    print("here", flush=True)
    sys.stdin.read()
"""


def test_only_what_dead_processes_left_is_removed(tmp_path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("whole")

    def start(how: str) -> subprocess.Popen:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", _DIES, str(file), how]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    lives = start("lives")
    assert lives.stdout.readline() == "here\n"
    start("dies").communicate()
    foreign = tmp_path / ".tmp-00000000-1-00000000-a.txt"
    foreign.write_text("of another machine")
    assert len(list(tmp_path.glob(".tmp-*"))) == 3
    with atomic_write(tmp_path / "b.txt") as temporary:
        temporary.write_text("new")
    left = {path.name for path in tmp_path.glob(".tmp-*")}
    assert foreign.name in left
    assert [f"-{lives.pid}-" in name for name in left - {foreign.name}] == [True]
    assert file.read_text() == "whole"
    lives.communicate("")
    assert file.read_text() == "half"
    assert {path.name for path in tmp_path.glob(".tmp-*")} == {foreign.name}


@pytest.fixture
def full_disk(monkeypatch) -> None:
    """Nothing can be written out any more."""

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", refuse)


def test_a_full_disk_names_the_file_and_harms_nothing(tmp_path, full_disk) -> None:
    archive, log = tmp_path / "a.npz", tmp_path / "log.csv"
    archive.write_bytes(b"whole")
    log.write_text("1,2\n")
    with (
        pytest.raises(WriteError, match=r"cannot write .*a\.npz: No space left") as raised,
        atomic_write(archive) as temporary,
    ):
        np.savez(temporary, x=np.zeros(3))
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(WriteError, match=r"cannot write .*log\.csv: No space left"):
        append(log, "3,4\n")
    assert archive.read_bytes() == b"whole"
    assert log.read_text() == "1,2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "log.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_device_that_is_full_is_named(tmp_path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    log = tmp_path / "log"
    with pytest.raises(WriteError, match=r"cannot write .*log: No space left"), writing(log):
        log.write_text("x")


def test_what_was_kept_before_is_kept_as_well(tmp_path) -> None:
    path = tmp_path / "pot.mtp"

    def kept(content: str) -> Path:
        path.write_text(content)
        place = backup_place(path)
        place.write_text(content)
        return place

    names = [kept(content).name for content in ("one", "two", "three", "two")]
    # The last one is there already.
    assert names == ["pot.mtp.bak", "pot.mtp.bak2", "pot.mtp.bak3", "pot.mtp.bak2"]
