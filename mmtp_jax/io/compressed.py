"""Text files that may be compressed, by the ends of their names: .gz, .bz2 and .xz."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TextIO

from mmtp_jax.language import reason

COMPRESSIONS = (".gz", ".bz2", ".xz")
MOST_TIMES = 200
"""A file is not read that unpacks to more times its own size; configurations make 3 to 20 times."""
_PIECE = 1 << 20


def suffixes(path: str | os.PathLike) -> tuple[str, str]:
    """What the name of a file says of its format and of its compression, in small letters.

    >>> suffixes("a/Train.CFG.gz"), suffixes("POSCAR")
    (('.cfg', '.gz'), ('', ''))
    """
    name = Path(Path(path).name.lower())
    if name.suffix in COMPRESSIONS:
        return Path(name.stem).suffix, name.suffix
    return name.suffix, ""


def with_word(path: str | os.PathLike, word: str | int) -> Path:
    """A word before what the name says of format and compression.

    >>> with_word("run/steps.cfg.gz", 2)
    PosixPath('run/steps.2.cfg.gz')
    """
    path = Path(path)
    packed = path.suffix if path.suffix.lower() in COMPRESSIONS else ""
    name = Path(path.name.removesuffix(packed))
    return path.with_name(f"{name.stem}.{word}{name.suffix}{packed}")


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, unpacked; a byte order mark is left out, ends of lines are newlines.

    Raises:
        ValueError: if it is no text, or damaged, or unpacks to more than MOST_TIMES its size.
    """
    try:
        text = _bytes(Path(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)} is not text ({reason(error)})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def written_text(path: str | os.PathLike, compression: str = "") -> Iterator[TextIO]:
    """A file to write text to, compressed if told (see `suffixes`); same text makes same bytes."""
    with open(path, "wb") as raw, _packed(raw, compression) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        yield text
        # Flushes, and leaves closing to those who opened.
        text.detach()


def _packed(raw: BinaryIO, compression: str) -> AbstractContextManager[BinaryIO]:
    if compression == ".gz":
        # Neither name nor time, which gzip else puts into its header.
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
    if compression == ".bz2":
        return bz2.BZ2File(raw, "wb")
    if compression == ".xz":
        return lzma.LZMAFile(raw, "wb")
    return nullcontext(raw)


def _bytes(path: Path) -> bytes:
    compression = suffixes(path)[1]
    if not compression:
        return path.read_bytes()
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[compression]
    most = MOST_TIMES * path.stat().st_size + _PIECE
    pieces, size = [], 0
    with open(path, "rb") as raw:
        try:
            with opened(raw) as file:
                while piece := file.read(_PIECE):
                    pieces.append(piece)
                    size += len(piece)
                    if size > most:
                        raise ValueError(
                            f"{path} unpacks to more than {MOST_TIMES} times its size; if it is "
                            "what it should be, unpack it first"
                        )
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            raise ValueError(
                f"{path} cannot be unpacked, it is cut or no {compression} file ({error})"
            ) from error
    return b"".join(pieces)
