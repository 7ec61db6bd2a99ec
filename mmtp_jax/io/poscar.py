"""A POSCAR, before ASE makes room for as many atoms as it claims to have."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

from mmtp_jax.io.compressed import read_text
from mmtp_jax.io.xyz_frames import BrokenFileError

_NAMES = ("*POSCAR*", "*CONTCAR*", "*CENTCAR*", "*.vasp")


def is_poscar(path: str | os.PathLike) -> bool:
    """Whether a file is one by its name."""
    return any(fnmatch(Path(path).name, pattern) for pattern in _NAMES)


def check_poscar(path: str | os.PathLike) -> None:
    """Check the line with the numbers of atoms.

    Raises:
        ValueError: if they are more than the file has lines.
    """
    lines = read_text(path).split("\n")
    for number, line in list(enumerate(lines, 1))[5:7]:
        words = line.split("!")[0].split()
        if words and all(word.isdecimal() for word in words):
            longest = max(words, key=len)
            if len(longest) > 15 or sum(map(int, words)) > len(lines):
                raise BrokenFileError(
                    f"{os.fspath(path)}, line {number}: found {' '.join(words)[:60]!r} for the "
                    f"numbers of atoms, but the file has only {len(lines)} lines; it is cut, or "
                    "the numbers are wrong"
                )
            return
