"""The formats of files of configurations, by their names or their first words."""

from __future__ import annotations

import os
from pathlib import Path

from ase.io.formats import UnknownFileTypeError, extension2format, filetype, get_ioformat

from mmtp_jax.io.compressed import suffixes
from mmtp_jax.language import in_python

PathLike = str | os.PathLike
CFG, EXTXYZ = "cfg", "extxyz"
"""Formats of our own writers; in ASE "cfg" is AtomEye's, here it is MLIP's."""
XYZ = (".xyz", ".extxyz")


def format_to_read(path: Path) -> str:
    """ASE's name of the format of a file."""
    if suffixes(path)[0] in XYZ:
        return EXTXYZ
    if said := by_extension(path):
        return said
    try:
        return get_ioformat(filetype(os.fspath(path))).name
    except UnknownFileTypeError as error:
        if path.suffix.lower() == ".mtp":
            raise ValueError(f"{path} is a potential, not configurations") from error
        raise ValueError(
            f"{path} is of no format that ASE knows by its name; rename it"
            + in_python(", or give format=..., as ase.io.read takes it")
        ) from error
    except (EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path}: ASE cannot read this file ({error})") from error


def by_extension(path: PathLike) -> str | None:
    """The format of the extension where the rest of the name says another: of CONTCAR.cif, cif."""
    known = extension2format.get(suffixes(path)[0].lstrip("."))
    stem = Path(path).name.upper()
    named = any(word in stem for word in ("POSCAR", "CONTCAR", "CENTCAR", "OUTCAR"))
    return known.name if named and known is not None else None


def is_cfg(path: Path) -> bool:
    """Whether a file is MLIP's, by its name or by its first word."""
    if suffixes(path)[0] == ".cfg":
        return True
    with open(path, "rb") as file:
        return file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"BEGIN_CFG")


def format_to_write(path: PathLike, named: str | None = None) -> str:
    """The name of the format to write: as it is given, or as the name of the file says.

    Raises:
        ValueError: if there is none of that name, or none that can be read again.
    """
    suffix = suffixes(path)[0]
    if named == CFG or (named is None and suffix == ".cfg"):
        return CFG
    if named == EXTXYZ or (named is None and suffix in XYZ):
        return EXTXYZ
    try:
        said = named or by_extension(path) or filetype(os.fspath(path), read=False)
        format_ = get_ioformat(said)
    except UnknownFileTypeError as error:
        what = f"the name {os.fspath(path)!r}" if named is None else f"format={named!r}"
        more = in_python(", or give format=...")
        raise ValueError(f"{what} says no format; use .cfg or .extxyz{more}") from error
    if not format_.can_read:
        raise ValueError(
            f"{os.fspath(path)}: nothing reads the format {format_.name} again, so labels would "
            "be lost in it; take .extxyz or .cfg, or ase.io.write for pictures and inputs"
        )
    return format_.name
