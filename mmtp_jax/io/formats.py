"""Configurations in any file format: ``.cfg`` by ourselves, every other one through ASE.

`read` gives one schema whatever the file was (see `mmtp_jax.io.schema`): energy, forces, stress
and achieved moments on a ``SinglePointCalculator``, initial moments on the atoms, magnetic forces
in ``atoms.arrays["magnetic_forces"]``.

- The energy is ASE's ``free_energy`` where a file has one (VASP: "free energy TOTEN"), for that
  is what forces and stress are derivatives of; VASP's energy(sigma -> 0) is not.
- Moments or magnetic forces as (n, 3) with one non-zero column are collinear and become (n,).
- Extended XYZ and ``.cfg`` hold all labels, to the bit (in ``.cfg`` the stress to rounding). What a
  format does not hold, such as magnetic forces in POSCAR, `write` names in the log.
- Labels under names of other programs are read where they are unambiguous, and named in the log
  where they are not: see `mmtp_jax.io.other_names`.
- vasprun.xml holds no moments of atoms; OUTCAR does. Of an OUTCAR that is cut the whole steps are
  read.
"""

from __future__ import annotations

import glob
import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat, string2index

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.io.comment_line import CommentLine, CommentLineError
from mmtp_jax.io.compressed import read_text, suffixes, written_text
from mmtp_jax.io.extxyz import frame
from mmtp_jax.io.label_keys import Keys
from mmtp_jax.io.labels import unread_labels
from mmtp_jax.io.left_out import LeftOut, dropped
from mmtp_jax.io.making import vasp_info
from mmtp_jax.io.other_names import Names
from mmtp_jax.io.outcar import read_outcar
from mmtp_jax.io.poscar import check_poscar, is_poscar
from mmtp_jax.io.readback import differences
from mmtp_jax.io.schema import (
    MAGNETIC_FORCES,
    SOURCE,
    STAMP,
    along_moments,
    collapse,
    labels_of,
    remove_magnetic_forces,
    stamp_as_read,
    tell_of_forces,
)
from mmtp_jax.io.xyz_frames import BrokenFileError, check_frames

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike
CFG, EXTXYZ = "cfg", "extxyz"
"""Formats of our own writers; in ASE "cfg" is AtomEye's, here it is MLIP's."""
XYZ = (".xyz", ".extxyz")


def read(
    path: PathLike | Sequence[PathLike],
    species: Sequence[str] | str | None = None,
    index: int | str | slice = ":",
    keys: Keys | None = None,
    **options: Any,
) -> list[Atoms]:
    """Read configurations with their labels from one file, several, or a pattern.

    Each configuration gets an attribute ``source`` ("train.cfg, configuration 3"), the name
    that messages call it by. It is no part of ``info`` and goes into no file. Magnetic forces are
    tied to the energy, positions, cell and moments beside them, see `mmtp_jax.io.schema`.

    Args:
        path: a file, a pattern such as ``"runs/*/OUTCAR"``, or a list of both. The files of a
            pattern are read in sorted order.
        species: chemical symbols of the types of ``.cfg`` files; other formats name elements
            themselves and do not use it.
        index: which configurations of each file: a number or a slice such as ``"-100:"``.
        keys: names that labels have in the files, e.g. ``{"magmoms": "spins"}`` or
            ``["magmoms=spins"]``; see `mmtp_jax.io.other_names`.
        **options: ``magnetic_gradient`` for ``.cfg`` (see `mmtp_jax.io.cfg.read_cfg`); anything
            that ``ase.io.read`` takes, e.g. ``format="vasp-out"``, for others.

    Returns:
        The configurations, a list also where it is one.

    Raises:
        FileNotFoundError: if there is no such file, or none fits a pattern.
        ValueError: if a file is broken, of no known format, contradicts itself, or has no name
            that ``keys`` gives.

    Example:
        >>> atoms_list = read("train.cfg", species=("Fe", "Al"))
        >>> last = read("relax/OUTCAR", index=-1)
    """
    if isinstance(index, str):
        index = string2index(index)
    atoms_list = []
    for file in _files(path):
        names = Names(keys)
        found = []
        with_numbers = _read_file(file, species, index, options, names)
        making = vasp_info(file) if any(a.calc for _, a in with_numbers) else {}
        for number, atoms in with_numbers:
            setattr(atoms, SOURCE, configuration_name(file, number))
            atoms.info = making | atoms.info
            stamp_as_read(atoms)
            found.append(atoms)
        for sentence in names.sentences(file.name) if found else ():
            logger.info("%s", sentence)
        for sentence in unread_labels(found, file.name):
            logger.warning("%s", sentence)
        atoms_list += found
    return atoms_list


def write(
    path: PathLike,
    atoms_list: Atoms | Iterable[Atoms],
    species: Sequence[str] | str | None = None,
    **options: Any,
) -> None:
    """Write configurations with their labels; the file appears whole or not at all.

    Nothing that is given is changed. What the file cannot hold is counted and named in one line
    of the log: labels of a calculator that belong to other positions or moments, info and arrays
    that would be read as something else, and in formats of ASE's whatever does not come back when
    the file is read. Magnetic forces of other results are no labels, and not written. Names that
    end in .gz, .bz2 or .xz make compressed files.

    Args:
        path: the file; its name, in letters of any case, says the format: .cfg is MLIP's, .xyz
            and .extxyz extended XYZ, any other as ``ase.io.write`` has it.
        atoms_list: one configuration or several.
        species: symbols of the types of ``.cfg`` files; by default in the order of appearance.
        **options: ``format``, if the name of the file says it not; anything that ``ase.io.write``
            takes, for formats other than ``.cfg`` and extended XYZ.

    Raises:
        ValueError: if there is nothing to write, the format is unknown, or cannot hold the
            labels that are given.
    """
    configurations = [atoms_list] if isinstance(atoms_list, Atoms) else list(atoms_list)
    if not configurations:
        raise ValueError(f"there is no configuration to write to {os.fspath(path)}")
    if "append" in options:
        raise ValueError("append is not supported: files are replaced whole; write all at once")
    format_ = format_to_write(path, options.pop("format", None))
    if format_ in (CFG, EXTXYZ) and options:
        raise ValueError(
            f"{os.fspath(path)}: files of this format are written without options, "
            f"got {sorted(options)}"
        )
    if format_ == CFG:
        write_cfg(path, configurations, species)
        return
    _tell_of_forces(os.fspath(path), configurations)
    left_out = LeftOut(os.fspath(path))
    with atomic_write(path) as temporary:
        if format_ == EXTXYZ:
            _write_extxyz(temporary, configurations, left_out)
        else:
            _ase_write(temporary, configurations, left_out, format_, options)
    left_out.say()


def _write_extxyz(path: Path, configurations: list[Atoms], left_out: LeftOut) -> None:
    with written_text(path, suffixes(left_out.name)[1]) as file:
        for k, atoms in enumerate(configurations, 1):
            try:
                text, parts = frame(normalised(atoms, say=False))
            except ValueError as error:
                raise ValueError(
                    f"cannot write {left_out.name}, configuration {k}: {error}"
                ) from error
            file.write(text)
            left_out.count([*dropped(atoms, labels_of(atoms)), *parts])


def _ase_write(
    path: Path,
    configurations: list[Atoms],
    left_out: LeftOut,
    format_: str,
    options: dict[str, Any],
) -> None:
    """Write in a format of ASE's, and find what it does not hold by reading it again."""
    name = left_out.name
    copies = [normalised(atoms, say=False) for atoms in configurations]
    try:
        ase.io.write(path, copies if len(copies) > 1 else copies[0], format=format_, **options)
    # The writers of ASE raise whatever comes up; an OSError of the system has a number.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"{name}: ASE cannot write this as {format_} ({type(error).__name__}: {error}); "
            "nothing is written, take .extxyz or .cfg"
        ) from error
    try:
        found = _ase_read(path, slice(None), {"format": format_})
        names = Names()
        found = [_settled(path, k, atoms, names, True) for k, atoms in enumerate(found, 1)]
    except ValueError as error:
        raise ValueError(
            f"{name}: what ASE writes as {format_} it cannot read ({error.__cause__ or error}); "
            "nothing is written, take .extxyz or .cfg"
        ) from error
    if len(found) != len(copies):
        raise ValueError(
            f"{name}: the format {format_} holds {len(found)} of {len(copies)} configurations; "
            "nothing is written, take .extxyz or .cfg"
        )
    for atoms, copy, again in zip(configurations, copies, found, strict=True):
        left_out.count([*dropped(atoms, labels_of(atoms)), *differences(copy, again)])


def configuration_name(path: PathLike, number: int) -> str:
    """What messages call a configuration; ``number`` counts from 1.

    >>> configuration_name("data/train.cfg", 3)
    'train.cfg, configuration 3'
    """
    return f"{Path(path).name}, configuration {number}"


def normalised(atoms: Atoms, say: bool = True) -> Atoms:
    """A copy of atoms in the one schema, as in a file: see the head of this one.

    Args:
        atoms: the configuration; it is not changed.
        say: log magnetic forces across collinear moments, which are left out.

    Raises:
        ValueError: if magnetic forces and collinear moments have no common axis.
    """
    labels = labels_of(atoms)
    copy = atoms.copy()
    moments, initial = labels.achieved_moments, labels.initial_moments
    forces = labels.magnetic_forces
    if forces is None:
        remove_magnetic_forces(copy)
    else:
        if forces.ndim == 2 and forces.shape[1:] == (3,):
            axes = labels.moments
            same = axes is not None and axes.shape == forces.shape
            forces, transverse = along_moments(forces, axes if same else None)
            if transverse and say:
                logger.warning(
                    "magnetic forces across the collinear moments of %s are left out",
                    getattr(atoms, SOURCE, "a configuration"),
                )
        copy.arrays[MAGNETIC_FORCES] = collapse(np.array(forces, float))
    if initial is None:
        initial = moments
    if initial is not None:
        # Replacing, not filling: the old array may have been (n, 3).
        copy.arrays.pop("initial_magmoms", None)
        copy.set_initial_magnetic_moments(collapse(np.array(initial, float)))
    results = {name: value for name, value in labels.results.items() if name in all_properties}
    if moments is not None:
        results["magmoms"] = collapse(np.array(moments, float))
    if results:
        copy.calc = SinglePointCalculator(copy, **results)
    return copy


def _tell_of_forces(path: str, atoms_list: Sequence[Atoms]) -> None:
    names = [getattr(atoms, SOURCE, f"configuration {k}") for k, atoms in enumerate(atoms_list, 1)]
    tell_of_forces([labels_of(atoms) for atoms in atoms_list], names, path)


def _files(path: PathLike | Sequence[PathLike]) -> Iterator[Path]:
    if not isinstance(path, (str, os.PathLike)):
        for one in path:
            yield from _files(one)
    elif Path(path).is_file():
        yield Path(path)
    elif glob.has_magic(os.fspath(path)):
        found = sorted(glob.glob(os.fspath(path), recursive=True))
        if not found:
            raise FileNotFoundError(f"no file fits the pattern {os.fspath(path)!r}")
        yield from map(Path, found)
    else:
        raise FileNotFoundError(f"there is no file {os.fspath(path)!r}")


def _read_file(
    path: Path,
    species: Sequence[str] | str | None,
    index: int | slice,
    options: dict[str, Any],
    names: Names,
) -> list[tuple[int, Atoms]]:
    """Configurations with their numbers in the file, from 1."""
    named = options.get("format")
    if named == CFG or (named is None and _is_cfg(path)):
        given = {name: value for name, value in options.items() if name != "format"}
        found = _pick(path, list(enumerate(read_cfg(path, species, **given), 1)), index)
        return [(number, _settled(path, number, atoms, names, False)) for number, atoms in found]
    foreign = {name: value for name, value in options.items() if name != "magnetic_gradient"}
    format = foreign.get("format") or _format_of(path)
    if format == "vasp-out" and set(foreign) <= {"format"}:
        images = read_outcar(path)
        found = _pick(path, list(enumerate(images, 1)), index)
    else:
        found = _ase_configurations(path, index, format, foreign)
    settled = [(number, _settled(path, number, atoms, names, True)) for number, atoms in found]
    missing = _HOLDS_NO_MOMENTS.get(format)
    if missing and not any("magmoms" in (a.calc.results if a.calc else {}) for _, a in settled):
        logger.warning("%s: %s", path.name, missing)
    return settled


_HOLDS_NO_MOMENTS = {
    "vasp-out": "this OUTCAR holds no magnetic moments of atoms; VASP writes them with ISPIN = 2 "
    "and LORBIT = 11",
    "vasp-xml": "vasprun.xml holds no magnetic moments of atoms; read the OUTCAR of a run with "
    "ISPIN = 2 and LORBIT = 11",
}
"""What is said of files by VASP without moments."""


def _settled(path: Path, number: int, atoms: Atoms, names: Names, foreign: bool) -> Atoms:
    """The configuration in the schema, where ``foreign`` or other names ask for that."""
    try:
        return normalised(atoms) if names.settle(atoms) or foreign else atoms
    except ValueError as error:
        raise ValueError(f"{configuration_name(path, number)}: {error}") from error


def _ase_configurations(
    path: Path, index: int | slice, format: str, options: dict[str, Any]
) -> list[tuple[int, Atoms]]:
    if isinstance(index, slice):
        first, step = index.start or 0, index.step or 1
        known = first >= 0 and step > 0
    else:
        first, step, known = index, 1, index >= 0
    parser = None
    if format == EXTXYZ and "properties_parser" not in options:
        parser = CommentLine()
        options = options | {"format": format, "properties_parser": parser}
    # Counted from the end, numbers are known only after all has been read.
    first, step = (first, step) if known else (0, 1)
    try:
        images = _ase_read(path, index if known else slice(None), options)
    except CommentLineError as error:
        number = 1 + first + step * (parser.n_lines - 1)
        raise ValueError(f"{configuration_name(path, number)}: {error}") from error
    numbers = range(1 + first, 1 + first + step * len(images), step)
    found = list(zip(numbers, images, strict=True))
    found = found if known else _pick(path, found, index)
    # ASE writes the stamps of atoms as any other entry of info.
    _tell_of_forces(path.name, [atoms for _, atoms in found if STAMP in atoms.info])
    return found


def _pick(
    path: Path, found: list[tuple[int, Atoms]], index: int | slice
) -> list[tuple[int, Atoms]]:
    if isinstance(index, slice):
        return found[index]
    try:
        return [found[index]]
    except IndexError:
        raise ValueError(f"{path} has {len(found)} configurations, none at {index}") from None


def _last(index: int | slice) -> int | None:
    """How many configurations have to be looked at, None where all."""
    last = index.stop if isinstance(index, slice) else index + 1
    return last if last is not None and last > 0 else None


def _ase_read(path: Path, index: int | slice, options: dict[str, Any]) -> list[Atoms]:
    try:
        file: Any = path
        if options.get("format", EXTXYZ if suffixes(path)[0] in XYZ else None) == EXTXYZ:
            check_frames(path, _last(index))
            if suffixes(path)[1]:
                file, options = io.StringIO(read_text(path)), options | {"format": EXTXYZ}
        if options.get("format", "vasp") == "vasp" and is_poscar(path):
            check_poscar(path)
        images = ase.io.read(file, index=index, do_not_split_by_at_sign=True, **options)
    except (IndexError, StopIteration) as error:
        which = "configuration" if isinstance(index, slice) else f"configuration {index}"
        raise ValueError(f"{path} has no {which}, or is empty") from error
    except (OSError, BrokenFileError, CommentLineError) as error:
        # Readers of ASE raise an OSError of no system call where a file is broken.
        if isinstance(error, OSError) and error.errno is None:
            raise ValueError(f"{path}: ASE cannot read this file ({error})") from error
        raise
    # The readers of ASE raise whatever comes up in a broken file.
    except Exception as error:
        raise ValueError(
            f"{path}: ASE cannot read this file ({type(error).__name__}: {error})"
        ) from error
    return [images] if isinstance(images, Atoms) else list(images)


def _format_of(path: Path) -> str:
    """ASE's name of the format of a file."""
    if suffixes(path)[0] in XYZ:
        return EXTXYZ
    try:
        return get_ioformat(filetype(os.fspath(path))).name
    except UnknownFileTypeError as error:
        raise ValueError(
            f"{path} is of no format that ASE knows by its name; give format=..., "
            "as ase.io.read takes it"
        ) from error
    except (EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path}: ASE cannot read this file ({error})") from error


def _is_cfg(path: Path) -> bool:
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
        format_ = get_ioformat(named or filetype(os.fspath(path), read=False))
    except UnknownFileTypeError as error:
        what = f"the name {os.fspath(path)!r}" if named is None else f"format={named!r}"
        raise ValueError(f"{what} says no format; use .cfg or .xyz, or give format=...") from error
    if not format_.can_read:
        raise ValueError(
            f"{os.fspath(path)}: nothing reads the format {format_.name} again, so labels would "
            "be lost in it; take .extxyz or .cfg, or ase.io.write for pictures and inputs"
        )
    return format_.name
