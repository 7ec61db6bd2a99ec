"""Configurations are written in any file format: ``.cfg`` and extended XYZ by ourselves.

These two hold all labels, to the bit (in ``.cfg`` the stress to rounding). What another format does
not hold, such as magnetic forces in POSCAR, `write` names in the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.cfg import write_cfg
from mmtp_jax.io.compressed import suffixes, written_text
from mmtp_jax.io.extxyz import frame
from mmtp_jax.io.formats import CFG, EXTXYZ, PathLike, format_to_write
from mmtp_jax.io.left_out import LeftOut, dropped
from mmtp_jax.io.normalised import normalised
from mmtp_jax.io.other_names import Names
from mmtp_jax.io.readback import differences
from mmtp_jax.io.reading import ase_read, in_schema
from mmtp_jax.io.schema import SOURCE, Labels, labels_of, some_canted, tell_of_forces

_Labelled = list[tuple[Atoms, Labels]]


def write(
    path: PathLike,
    atoms_list: Atoms | Iterable[Atoms],
    species: Sequence[str] | str | None = None,
    vectors: bool | None = None,
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
        vectors: moments (n, 3) along one axis are written as such, and not as collinear ones, which
            ``.cfg`` has along x; by default where other moments in the file are canted.
        **options: ``format``, if the name of the file says it not; anything that ``ase.io.write``
            takes, for formats other than ``.cfg`` and extended XYZ.

    Raises:
        ValueError: if there is nothing to write, the format is unknown, or cannot hold the
            labels that are given, such as moments that are vectors where it has one number; if a
            position, moment or label is not finite.
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
        write_cfg(path, configurations, species, vectors=vectors)
        return
    labels = [labels_of(atoms) for atoms in configurations]
    names = [getattr(a, SOURCE, f"configuration {k}") for k, a in enumerate(configurations, 1)]
    tell_of_forces(labels, names, os.fspath(path))
    vectors = some_canted(labels) if vectors is None else vectors
    labelled = list(zip(configurations, labels, strict=True))
    for k, (atoms, of_atoms) in enumerate(labelled, 1):
        _check_finite(atoms, of_atoms, f"cannot write {os.fspath(path)}, configuration {k}")
    left_out = LeftOut(os.fspath(path))
    with atomic_write(path) as temporary:
        if format_ == EXTXYZ:
            _write_extxyz(temporary, labelled, left_out, vectors)
        else:
            _ase_write(temporary, labelled, left_out, vectors, format_, options)
    left_out.say()


def _check_finite(atoms: Atoms, labels: Labels, where: str) -> None:
    given = {
        "positions": atoms.positions, "cell": atoms.cell.array, "moments": labels.initial_moments,
        "magnetic forces": labels.magnetic_forces,
        **{what: labels.results.get(what) for what in ("energy", "forces", "stress", "magmoms")},
    }  # fmt: skip
    for what, values in given.items():
        # Text in place of numbers is another mistake, which has its own words.
        number = np.asarray(values).dtype.kind in "iuf"
        if number and not np.all(np.isfinite(values)):
            raise ValueError(
                f"{where}: {what} has a value that is not finite; remove it or the configuration"
            )


def _write_extxyz(path: Path, labelled: _Labelled, left_out: LeftOut, vectors: bool) -> None:
    with written_text(path, suffixes(left_out.name)[1]) as file:
        for k, (atoms, labels) in enumerate(labelled, 1):
            try:
                text, parts = frame(normalised(atoms, labels, vectors=vectors))
            except ValueError as error:
                raise ValueError(
                    f"cannot write {left_out.name}, configuration {k}: {error}"
                ) from error
            file.write(text)
            left_out.count([*dropped(atoms, labels, vectors), *parts])


def _ase_write(
    path: Path,
    labelled: _Labelled,
    left_out: LeftOut,
    vectors: bool,
    format_: str,
    options: dict[str, Any],
) -> None:
    """Write in a format of ASE's, and find what it does not hold by reading it again."""
    name = left_out.name
    copies = [normalised(atoms, labels, vectors=vectors) for atoms, labels in labelled]
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
        found = ase_read(path, slice(None), {"format": format_})
        names = Names(vectors=vectors)
        found = [atoms for _, atoms in in_schema(path, list(enumerate(found, 1)), names, True)]
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
    for copy, again in zip(copies, found, strict=True):
        before, after = (a.arrays.get("initial_magmoms") for a in (copy, again))
        if after is not None and np.ndim(before) == 2 != after.ndim:
            raise ValueError(
                f"{name}: the format {format_} holds one number for each moment, and these are "
                "vectors; nothing is written, take .extxyz or .cfg"
            )
    for (atoms, labels), copy, again in zip(labelled, copies, found, strict=True):
        left_out.count([*dropped(atoms, labels, vectors), *differences(copy, again)])
