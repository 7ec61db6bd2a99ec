"""Files that are replaced in one step, so that no reader ever meets half a file."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; it takes the place of ``path`` at the end.

    The temporary name ends like the final one, so that code that looks at suffixes works. When
    the block raises, the temporary file goes and ``path`` stays as it was.

    Raises:
        FileNotFoundError: if the folder of ``path`` does not exist.

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
    temporary = final.with_name(f".tmp-{secrets.token_hex(4)}-{final.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if final.exists():
            shutil.copymode(final, temporary)
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
