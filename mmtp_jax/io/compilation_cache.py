"""Compiled programs on disk, so that a later process loads what an earlier one has compiled.

The cache is JAX's own. Its keys hold the program, the version of jaxlib, XLA's flags and the
features of the processor, so machines of different kinds can share a home. It neither bounds its
size without another package nor replaces an entry that was cut off by a full disk; `_tidy` does.
This module needs no JAX, and must be used before the first computation.
"""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

from mmtp_jax.warn import warn

VARIABLE = "MMTP_COMPILATION_CACHE"
"""Environment variable: another folder, or ``off``."""
MAX_BYTES = 2**30
UNUSED_DAYS = 60
"""After which an entry goes, e.g. one of an old version."""

_FLAGS = {
    "jax_compilation_cache_dir": None,
    # Loading costs milliseconds, and tiny programs tens of them.
    "jax_persistent_cache_min_compile_time_secs": 0.0,
}
_DAY = 86400.0
_KEY = re.compile(r"-[0-9a-f]{64}-(cache|atime)$")


def compilation_cache(
    folder: str | os.PathLike | None = None, *, max_bytes: int = MAX_BYTES
) -> Path | None:
    """Keep compiled programs on disk, for this process, those it starts, and later ones.

    Call it before anything is computed. Where JAX has such a folder already, by
    ``JAX_COMPILATION_CACHE_DIR`` or its configuration, that one is used as it is. Several processes
    can share a folder. Only you should be able to write to it: whoever can, can run code as you.

    Args:
        folder: where; by default that of the variable ``MMTP_COMPILATION_CACHE``, or
            ``mmtp_jax`` in the user's cache folder. The variable set to ``off`` switches the cache
            off, whatever is given here.
        max_bytes: what was not used for longest goes beyond this size; looked at once a day.

    Returns:
        The folder in use. None if there is none: it is switched off, or it cannot be written, which
        a warning says.

    Example:
        >>> import mmtp_jax as mmtp
        >>> mmtp.compilation_cache()
    """
    variable = os.environ.get(VARIABLE, "")
    in_use = _folder_of_jax()
    if in_use or variable.lower() == "off" or _cannot_load():
        return Path(in_use) if in_use else None
    folder = Path(folder or variable or _user_folder()).expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # JAX would go on, with a warning for every program.
        probe = folder / f"writable-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
        _tidy(folder, max_bytes)
    except OSError as error:
        warn(
            f"compiled programs are not kept: {folder}: {error.strerror or error} (the environment "
            f"variable {VARIABLE} names another folder, or 'off')",
        )
        return None
    for flag, value in {**_FLAGS, "jax_compilation_cache_dir": str(folder)}.items():
        # Processes that are started read the environment, and so does JAX when it is imported.
        text = os.environ.setdefault(flag.upper(), str(value))
        if "jax" in sys.modules:
            sys.modules["jax"].config.update(flag, type(value)(text))
    if _logs_what_it_loads():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Of an entry that another process writes just then, or on a full disk: it is compiled instead.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    return folder


def _folder_of_jax() -> str | None:
    if "jax" in sys.modules:
        return sys.modules["jax"].config.jax_compilation_cache_dir
    return os.environ.get("JAX_COMPILATION_CACHE_DIR")


def _user_folder() -> Path:
    caches = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or caches) / "mmtp_jax"


def _cannot_load() -> bool:
    """Whether large programs crash when they are loaded, as with old jaxlib on macOS."""
    if sys.platform != "darwin":
        return False
    from jaxlib.version import __version__

    return tuple(map(int, __version__.split(".")[:2])) < (0, 10)


def _logs_what_it_loads() -> bool:
    """Whether XLA takes its own tuning for features that the processor lacks (jax issue 38445).

    It logs an error for each program that it loads, and loads it.
    """
    processor = Path("/proc/cpuinfo")
    return processor.exists() and b" avx512f " in processor.read_bytes()


def _tidy(folder: Path, max_bytes: int) -> None:
    """Once a day: remove what is cut off, unused for long, or beyond the size."""
    marker, now = folder / "tidied", time.time()
    before = marker.stat().st_mtime if marker.exists() else 0.0
    if now - before < _DAY:
        return
    marker.touch()
    entries, total = [], 0
    # What JAX calls its entries. The folder is the user's, and may hold other files.
    for path in folder.iterdir():
        with suppress(OSError):
            if _KEY.search(path.name) and path.is_file() and not path.is_symlink():
                status = path.stat()
                used = max(status.st_atime, status.st_mtime)
                entries.append((used, status.st_size, status.st_mtime > before, path))
    for used, size, is_new, path in sorted(entries, reverse=True):
        total += size
        if total > max_bytes or now - used > UNUSED_DAYS * _DAY or (is_new and _is_cut(path)):
            # Another process may be tidying, too.
            with suppress(OSError):
                path.unlink()


def _is_cut(path: Path) -> bool:
    """Whether an entry is not whole."""
    content = path.read_bytes()
    if content[:1] != b"\x78":  # JAX uses zlib, or zstandard where it is installed
        return not content
    try:
        zlib.decompress(content)
    except zlib.error:
        return True
    return False
