"""Configurations are read from any file format: ``.cfg`` by ourselves, others through ASE.

`read` gives one schema whatever the file was (see `mmtp_jax.io.schema`): energy, forces, stress
and achieved moments on a ``SinglePointCalculator``, initial moments on the atoms, magnetic forces
in ``atoms.arrays["magnetic_forces"]``.

- The energy is ASE's ``free_energy`` where a file has one (VASP: "free energy TOTEN"), for that
  is what forces and stress are derivatives of; VASP's energy(sigma -> 0) is not.
- Moments or magnetic forces as (n, 3) with one non-zero column are collinear and become (n,),
  unless vectors are asked for.
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
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from ase.io.formats import string2index

from mmtp_jax.io.at_equilibrium import ALL, Declared
from mmtp_jax.io.cfg import read_cfg
from mmtp_jax.io.comment_line import CommentLine, CommentLineError
from mmtp_jax.io.compressed import read_text, suffixes
from mmtp_jax.io.formats import CFG, EXTXYZ, XYZ, PathLike, by_extension, format_to_read, is_cfg
from mmtp_jax.io.label_keys import Keys
from mmtp_jax.io.labels import unread_labels
from mmtp_jax.io.making import vasp_info
from mmtp_jax.io.normalised import normalised
from mmtp_jax.io.other_names import Names
from mmtp_jax.io.outcar import read_outcar
from mmtp_jax.io.poscar import check_poscar, is_poscar
from mmtp_jax.io.schema import SOURCE, STAMP, labels_of, stamp_as_read, tell_of_forces
from mmtp_jax.io.xyz_frames import BrokenFileError, check_frames

logger = logging.getLogger(__name__)

_CHOSEN = re.compile(r"(.+)@(-?\d+|-?\d*:-?\d*(?::-?\d+)?)")


def read(
    path: PathLike | Sequence[PathLike],
    species: Sequence[str] | str | None = None,
    index: int | str | slice = ":",
    keys: Keys | None = None,
    moments_at_equilibrium: bool | PathLike | Sequence[PathLike] = False,
    vectors: bool = False,
    **options: Any,
) -> list[Atoms]:
    """Read configurations with their labels from one file, several, or a pattern.

    Each configuration gets an attribute ``source`` ("train.cfg, configuration 3"), the name
    that messages call it by. It is no part of ``info`` and goes into no file. Magnetic forces are
    tied to the energy, positions, cell and moments beside them, see `mmtp_jax.io.schema`.

    Args:
        path: a file, a pattern such as ``"runs/*/OUTCAR"``, or a list of both. The files of a
            pattern are read in sorted order. ``"run.extxyz@-1"`` is the last configuration of a
            file, as in ASE; what is behind the @ goes before ``index``.
        species: chemical symbols of the types of ``.cfg`` files; other formats name elements
            themselves and do not use it.
        index: which configurations of each file: a number or a slice such as ``"-100:"``.
        keys: names that labels have in the files, e.g. ``{"magmoms": "spins"}`` or
            ``["magmoms=spins"]``; see `mmtp_jax.io.other_names`.
        moments_at_equilibrium: the moments of all files (True), or of these files or patterns,
            are free ones, which minimise the energy: magnetic forces that a file does not hold
            are labels of zero. A true entry ``moments_at_equilibrium`` of ``info`` says so of one
            configuration, a false one takes it out; see `mmtp_jax.io.at_equilibrium`.
        vectors: moments (n, 3), and magnetic forces with them, stay so where they lie along one
            axis as well; such are collinear, (n,), if not given.
        **options: ``magnetic_gradient`` for ``.cfg`` (see `mmtp_jax.io.cfg.read_cfg`); anything
            that ``ase.io.read`` takes, e.g. ``format="vasp-out"``, for others.

    Returns:
        The configurations, a list also where it is one.

    Raises:
        FileNotFoundError: if there is no such file, or none fits a pattern.
        ValueError: if a file is broken, of no known format, contradicts itself, or has no name
            that ``keys`` gives; if moments that VASP held are said to be at equilibrium.

    Example:
        >>> atoms_list = read("train.cfg", species=("Fe", "Al"))
        >>> last = read("relax/OUTCAR", index=-1)
    """
    if isinstance(index, str):
        index = string2index(index)
    atoms_list = []
    declared = _declared(moments_at_equilibrium)
    for file, own in _chosen_of(path):
        names, at_equilibrium = Names(keys, vectors), declared.of_file(file)
        found = []
        with_numbers = _read_file(file, species, index if own is None else own, options, names)
        making = vasp_info(file) if any(a.calc for _, a in with_numbers) else {}
        for number, atoms in with_numbers:
            setattr(atoms, SOURCE, configuration_name(file, number))
            atoms.info = making | atoms.info
            try:
                declared.settle(atoms, at_equilibrium)
            except ValueError as error:
                raise ValueError(f"{configuration_name(file, number)}: {error}") from error
            stamp_as_read(atoms)
            found.append(atoms)
        for sentence in names.sentences(file.name) if found else ():
            logger.info("%s", sentence)
        for sentence in unread_labels(found, file.name):
            logger.warning("%s", sentence)
        atoms_list += found
    declared.tell()
    return atoms_list


def _declared(given: bool | PathLike | Sequence[PathLike]) -> Declared:
    if isinstance(given, bool):
        return Declared(given)
    words = [given] if isinstance(given, (str, os.PathLike)) else list(given)
    return Declared(ALL in words, files_of([word for word in words if word != ALL]))


def configuration_name(path: PathLike, number: int) -> str:
    """What messages call a configuration; ``number`` counts from 1.

    >>> configuration_name("data/train.cfg", 3)
    'train.cfg, configuration 3'
    """
    return f"{Path(path).name}, configuration {number}"


def files_of(path: PathLike | Sequence[PathLike]) -> Iterator[Path]:
    """The files that names and patterns stand for.

    Raises:
        FileNotFoundError: if there is no such file, or none fits a pattern.
    """
    for file, _ in _chosen_of(path):
        yield file


def _chosen_of(
    path: PathLike | Sequence[PathLike],
) -> Iterator[tuple[Path, int | slice | None]]:
    """Files, and which of their configurations are chosen by an @ behind the name."""
    if not isinstance(path, (str, os.PathLike)):
        for one in path:
            yield from _chosen_of(one)
    elif Path(path).is_file():
        yield Path(path), None
    elif chosen := _CHOSEN.fullmatch(os.fspath(path)):
        for file in files_of(chosen[1]):
            yield file, string2index(chosen[2])
    elif glob.has_magic(os.fspath(path)):
        found = sorted(glob.glob(os.fspath(path), recursive=True))
        if not found:
            raise FileNotFoundError(f"no file fits the pattern {os.fspath(path)!r}")
        yield from ((Path(file), None) for file in found)
    elif Path(path).is_dir():
        raise IsADirectoryError(f"{os.fspath(path)} is a folder; give files in it")
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
    if named == CFG or (named is None and is_cfg(path)):
        given = {name: value for name, value in options.items() if name != "format"}
        images = read_cfg(path, species, vectors=names.vectors, **given)
        found = _pick(path, list(enumerate(images, 1)), index)
        return in_schema(path, found, names, foreign=False)
    foreign = {name: value for name, value in options.items() if name != "magnetic_gradient"}
    format = foreign.get("format") or format_to_read(path)
    if format == "vasp-out" and set(foreign) <= {"format"}:
        images = read_outcar(path)
        found = _pick(path, list(enumerate(images, 1)), index)
    else:
        found = _ase_configurations(path, index, format, foreign)
    settled = in_schema(path, found, names, foreign=True, tell=True)
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


def in_schema(
    path: Path, found: list[tuple[int, Atoms]], names: Names, foreign: bool, tell: bool = False
) -> list[tuple[int, Atoms]]:
    """Configurations in the schema, where ``foreign`` or other names ask for that.

    Args:
        path: their file.
        found: they and their numbers; they are changed.
        names: of their labels.
        foreign: a reader of ASE has read them.
        tell: log which stamps of magnetic forces do not fit.
    """
    settled, stamped = [], {}
    for number, atoms in found:
        try:
            if names.settle(atoms) or foreign:
                labels = labels_of(atoms, fresh=True)
                # ASE writes the stamps of atoms as any other entry of info.
                if STAMP in atoms.info:
                    stamped[f"configuration {number}"] = labels
                atoms = normalised(atoms, labels, fresh=True, vectors=names.vectors)
        except ValueError as error:
            raise ValueError(f"{configuration_name(path, number)}: {error}") from error
        settled.append((number, atoms))
    if tell:
        tell_of_forces(list(stamped.values()), list(stamped), path.name)
    return settled


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
        images = ase_read(path, index if known else slice(None), options)
    except CommentLineError as error:
        number = 1 + first + step * (parser.n_lines - 1)
        raise ValueError(f"{configuration_name(path, number)}: {error}") from error
    numbers = range(1 + first, 1 + first + step * len(images), step)
    found = list(zip(numbers, images, strict=True))
    return found if known else _pick(path, found, index)


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


def ase_read(path: Path, index: int | slice, options: dict[str, Any]) -> list[Atoms]:
    try:
        file: Any = path
        if "format" not in options and (said := by_extension(path)):
            options = options | {"format": said}
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
