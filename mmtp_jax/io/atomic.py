"""Files that are replaced in one step, so that no reader ever meets half a file.

Until then a file has a temporary name, which says who writes it: what a process leaves behind that
is killed, the next one that writes to the folder removes.
"""

from __future__ import annotations

import filecmp
import hashlib
import itertools
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_TEMPORARY = re.compile(r"\.tmp-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}-.+")


class WriteError(OSError):
    """The system refused to write, e.g. because the disk is full; says to which file."""

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}"


@contextmanager
def writing(path: str | os.PathLike, temporary: Path | None = None) -> Iterator[None]:
    """A block that writes to ``path``; what the system says without a name gets that of the file.

    Raises:
        WriteError: in place of an `OSError` that names no file, or the temporary one.
    """
    try:
        yield
    except OSError as error:
        of_another = error.filename is not None and error.filename != os.fspath(temporary or "")
        if error.errno is None or of_another:
            raise
        raise WriteError(error.errno, error.strerror, os.fspath(path)) from error


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; it takes the place of ``path`` at the end.

    The temporary name ends like the final one, so that code that looks at suffixes works. When
    the block raises, the temporary file goes and ``path`` stays as it was.

    Raises:
        FileNotFoundError: if the folder of ``path`` does not exist.
        WriteError: if the disk is full.

    Example:
        >>> with atomic_write("out.npz") as temporary:
        ...     np.savez(temporary, theta=theta)
    """
    # A link stays a link: the file that it points to is replaced.
    final = Path(os.path.realpath(path))
    if not final.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {os.fspath(path)}: the folder {final.parent} does not exist"
        )
    _clean(final.parent)
    who = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = final.with_name(f".tmp-{who}-{final.name}")
    try:
        with writing(path, temporary):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            if final.exists():
                shutil.copymode(final, temporary)
            os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@cache
def _clean(folder: Path) -> None:
    """Remove, once for each folder, what processes of this machine that are gone have left."""
    if os.name != "posix":
        return
    with suppress(OSError):
        for path in folder.iterdir():
            found = _TEMPORARY.fullmatch(path.name)
            if found and found[1] == _host() and not is_alive(int(found[2])):
                path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Is there a process of this number on this machine?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def backup_place(path: str | Path) -> Path:
    """Where what a file holds is kept: ``FILE.bak``, ``FILE.bak2`` and so on.

    The first name that is free, or whose file holds the same.
    """
    path = Path(path)
    places = (path.with_name(f"{path.name}.bak{k if k > 1 else ''}") for k in itertools.count(1))
    return next(
        place for place in places if not place.exists() or filecmp.cmp(path, place, shallow=False)
    )
