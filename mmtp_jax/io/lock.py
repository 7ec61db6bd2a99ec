"""Locks on what only one process may write to: a folder of jobs, a checkpoint, a trajectory.

The system drops a lock with the process that holds it, however that ends; the file that stays
behind locks nothing.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # There is none on Windows.
    fcntl = None

logger = logging.getLogger(__name__)


class _Own(threading.local):
    """What this thread has locked."""

    def __init__(self) -> None:
        self.names: set[Path] = set()


_own = _Own()


@contextmanager
def locked(path: str | os.PathLike | None) -> Iterator[None]:
    """A block in which no other process has a lock on a file or folder; None locks nothing.

    Blocks of one thread on the same path may be nested.

    Args:
        path: a folder, or a file, which need not exist.

    Raises:
        ValueError: if another process has it; its number and machine are named.
    """
    if path is None or fcntl is None:
        yield
        return
    path = Path(os.path.realpath(path))
    name = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    no_file = path.exists() and not path.is_file() and not path.is_dir()
    # Into a folder that is not there nobody writes; who tries to says so.
    if name in _own.names or no_file or not name.parent.is_dir():
        yield
        return
    with _opened(name, path) as file:
        with suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()} on {platform.node()}".encode())
        _own.names.add(name)
        try:
            yield
        finally:
            _own.names.remove(name)
            # Before the lock is gone: who waits for it finds out that the file is another one.
            with suppress(OSError):
                name.unlink()


@contextmanager
def _opened(name: Path, path: Path) -> Iterator[int]:
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(file, path)
            if _is_the_one(file, name):
                yield file
                return
        finally:
            os.close(file)


def _take(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 200).decode(errors="replace") or "of unknown number"
        raise ValueError(
            f"{path} is in use by process {holder}; wait for its end, or use another name"
        ) from None
    except OSError as error:
        logger.warning(
            "%s cannot be locked here (%s); do not use it twice at once", path, error.strerror
        )


def _is_the_one(file: int, name: Path) -> bool:
    """Is the file that was opened still the one of this name?"""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file), os.stat(name))
    return False
