"""Configurations in MLIP's ``.cfg`` text format: the writer; see `mmtp_jax.io.cfg`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.cfg_atoms import SPECIES_FEATURE, check_species, parse_feature
from mmtp_jax.io.cfg_sections import STRESS_ORDER, VECTORS
from mmtp_jax.io.compressed import suffixes, written_text
from mmtp_jax.io.left_out import LeftOut, dropped
from mmtp_jax.io.other_names import reads
from mmtp_jax.io.schema import (
    MAGNETIC_FORCES,
    STAMP,
    Labels,
    along_moments,
    check_periodic,
    collapse,
    is_total,
    labels_of,
    some_canted,
    tell_of_forces,
    voigt,
)
from mmtp_jax.io.values import same, to_json
from mmtp_jax.language import atoms_entry, named, numbers

_EXTRA_COLUMNS = ("charge", "nbh_grades")
"""Arrays for which MLIP has a column of the same name; it refuses any other."""
_HELD = {"numbers", "positions", "initial_magmoms", MAGNETIC_FORCES}
_RESULTS = {"energy", "energies", "forces", "stress", "magmoms"}


def write_cfg(
    path: str | os.PathLike,
    atoms_list: Atoms | Iterable[Atoms],
    species: Sequence[str] | str | None = None,
    say: bool = True,
    vectors: bool | None = None,
) -> None:
    """Write configurations with their labels; the file appears whole or not at all.

    Numbers are written so that reading gives the same bits (the stress, which goes through the
    volume, to rounding). Moments, the achieved ones where the calculator has them and the
    initial ones elsewhere, are in ``magmom_x``, magnetic forces in ``en_der_mx`` with the sign
    of data sets, T = -dE/dm. Results of a calculator that belong to other positions or moments
    are not written. Entries of ``info`` become features, as JSON after ``_JSON`` where their plain
    text would be read as something else; other programs take that for free text. What the format
    cannot hold (constraints, per-atom arrays that MLIP does not know, initial moments beside the
    achieved ones, the vector of a direction that is not periodic) is left out and named in one
    line of the log. A name that ends in .gz, .bz2 or .xz makes a compressed file.

    Args:
        path: the file.
        atoms_list: the configurations, which are not changed.
        species: symbols of the types 0, 1, ...; by default in the order of first appearance.
        say: log what is left out.
        vectors: moments (n, 3) along one axis are written as they are, in three columns; by default
            where other moments in the file are canted.

    Raises:
        ValueError: if an atom is of another species or a label is not finite.
    """
    configurations = [atoms_list] if isinstance(atoms_list, Atoms) else list(atoms_list)
    symbols = check_species(species)
    if symbols is None:
        symbols = tuple(dict.fromkeys(s for atoms in configurations for s in atoms.symbols))
        if configurations and not symbols:
            raise ValueError(f"cannot write {os.fspath(path)}: no configuration has atoms")
    packed = suffixes(path)[1]
    with atomic_write(path) as temporary, written_text(temporary, packed) as file:
        left_out = write_cfg_text(file, configurations, symbols, os.fspath(path), vectors)
    if say:
        left_out.say()


def write_cfg_text(
    file: TextIO,
    configurations: Sequence[Atoms],
    species: Sequence[str],
    name: str,
    vectors: bool | None = None,
) -> LeftOut:
    """Write configurations to an open file; messages call it ``name``. See `write_cfg`.

    Returns:
        What is left out.
    """
    left_out = LeftOut(name)
    labels = [labels_of(atoms) for atoms in configurations]
    tell_of_forces(labels, [f"configuration {k}" for k in range(1, len(labels) + 1)], name)
    vectors = some_canted(labels) if vectors is None else vectors
    for k, (atoms, of_atoms) in enumerate(zip(configurations, labels, strict=True), 1):
        try:
            left_out.count(_write_one(file, atoms, tuple(species), of_atoms, vectors))
        except ValueError as error:
            raise ValueError(f"cannot write {name}, configuration {k}: {error}") from error
    return left_out


def _write_one(
    file: TextIO, atoms: Atoms, species: tuple[str, ...], labels: Labels, vectors: bool
) -> list[str]:
    """Write one configuration; gives what is left out of it."""
    results, left_out = labels.results, _left_out(atoms, labels, vectors)
    file.write(f"BEGIN_CFG\n Size\n{len(atoms):6d}\n")
    periodic = np.flatnonzero(atoms.pbc)
    check_periodic(atoms)
    if len(periodic):
        file.write(" Supercell\n")
        rows = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)[: periodic[-1] + 1]
        for row in rows:
            file.write("    " + " ".join(f"{_finite(x, 'cell'):>22}" for x in row) + "\n")
    _write_atom_data(file, _columns(atoms, species, labels, vectors))
    if "energy" in results:
        file.write(f" Energy\n    {_finite(results['energy'], 'energy')}\n")
    if "stress" in results:
        _write_stress(file, atoms, voigt(results["stress"]))
    if species:
        file.write(f" Feature   {SPECIES_FEATURE}\t{' '.join(species)}\n")
    for name, value in atoms.info.items():
        if name == STAMP and labels.magnetic_forces is None:
            continue
        taken = reads(name, value, len(atoms), per_atom=False)
        lines = None if taken else _feature_lines(name, value)
        if lines is None:
            left_out.append(atoms_entry("info", name))
        else:
            file.writelines(lines)
    file.write("END_CFG\n\n")
    return left_out


def _left_out(atoms: Atoms, labels: Labels, vectors: bool) -> list[str]:
    """What there is no place for, but for entries of ``info``."""
    found = dropped(atoms, labels, vectors)
    no_place = labels.results.keys() & set(all_properties) - _RESULTS
    # It says nothing that the moments do not.
    if is_total(labels.results.get("magmom"), labels.achieved_moments):
        no_place.discard("magmom")
    found += [atoms_entry("results", name) for name in sorted(no_place)]
    if "stress" in labels.results and not _volume(atoms):
        found.append("stress of a cell without volume")
    if np.any(atoms.cell.array[~atoms.pbc]):
        found.append("cell vector of a direction that is not periodic")
    moments, initial = labels.achieved_moments, labels.initial_moments
    if moments is not None and initial is not None and not np.array_equal(
        collapse(moments), collapse(initial)
    ):  # fmt: skip
        found.append("initial moments other than the achieved ones")
    arrays = atoms.arrays
    held = _HELD | {name for name in _EXTRA_COLUMNS if name in arrays and _is_column(arrays[name])}
    if np.array_equal(arrays.get("id"), 1 + np.arange(len(atoms))):
        held.add("id")
    found += [atoms_entry("arrays", name) for name in sorted(arrays.keys() - held, key=str)]
    found += sorted({f"constraint {type(one).__name__}" for one in atoms.constraints})
    return found


def _volume(atoms: Atoms) -> float:
    return float(abs(np.linalg.det(atoms.cell.array))) if atoms.pbc.all() else 0.0


def _columns(
    atoms: Atoms, species: tuple[str, ...], labels: Labels, vectors: bool
) -> dict[str, list[str]]:
    columns = {
        "id": [str(k) for k in range(1, len(atoms) + 1)],
        "type": [_type(symbol, species) for symbol in atoms.symbols],
    }
    _add(columns, VECTORS["cartes"], atoms.positions, "positions")
    results = labels.results
    if "forces" in results:
        _add(columns, VECTORS["forces"], results["forces"], "forces")
    moments, forces = labels.moments, labels.magnetic_forces
    if moments is not None:
        # Along one axis they are collinear, and other programs look for them along x.
        vectors = (vectors or labels.transverse) and np.ndim(moments) == 2
        moments = np.asarray(moments, float) if vectors else collapse(np.asarray(moments, float))
        _add(columns, VECTORS["moments"], _vectors(moments), "moments")
    if forces is not None:
        if forces.ndim == 2 and np.shape(labels.moments) == forces.shape and not vectors:
            forces, _ = along_moments(forces, labels.moments)
        if np.ndim(moments) != 2 and not labels.transverse:
            forces = collapse(forces)
        if np.ndim(moments) == 2 and forces.ndim == 1:
            if np.any(forces):
                raise ValueError(
                    "magnetic forces are one number for each atom, and the moments are vectors; "
                    "give vectors, or remove them"
                )
            forces = np.zeros((len(atoms), 3))
        _add(columns, VECTORS["gradient"], _vectors(forces), "magnetic forces")
    if "energies" in results:
        _add(columns, ("site_en",), results["energies"], "energies")
    for name in _EXTRA_COLUMNS:
        if name in atoms.arrays and _is_column(atoms.arrays[name]):
            _add(columns, (name,), atoms.arrays[name], name)
    return columns


def _is_column(values: np.ndarray) -> bool:
    """Whether an array is one finite number per atom that a float holds."""
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        return False
    return bool(np.isfinite(values).all()) and values.tolist() == values.astype(float).tolist()


def _type(symbol: str, species: tuple[str, ...]) -> str:
    try:
        return str(species.index(symbol))
    except ValueError:
        raise ValueError(
            f"an atom is {symbol}, but the species are {' '.join(species)}; add it to "
            f"{named('species')}"
        ) from None


def _vectors(values: np.ndarray) -> np.ndarray:
    """Collinear values as vectors along x; vectors as they are."""
    values = np.asarray(values, float)
    if values.ndim == 2:
        return values
    vectors = np.zeros((len(values), 3))
    vectors[:, 0] = values
    return vectors


def _add(columns: dict[str, list[str]], names: Sequence[str], values: Any, what: str) -> None:
    size = len(columns["id"])
    values = np.asarray(values, float)
    if values.shape not in {(size, len(names)), (size, len(names))[: len(names)]}:
        raise ValueError(f"{what} has {numbers(values.shape)} for {size} atoms")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{what} has a value that is not finite; remove it or the configuration")
    table = values.reshape(size, len(names)).T.tolist()
    for name, column in zip(names, table, strict=True):
        columns[name] = [_number(value) for value in column]


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same bits.

    Without an exponent, for motep 0.2.0 refuses exponents in AtomData.
    """
    text = repr(float(value))
    return np.format_float_positional(value, trim="0") if "e" in text else text


def _finite(value: Any, what: str) -> str:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{what} is {number}; remove it or the configuration")
    return repr(number)


def _write_atom_data(file: TextIO, columns: dict[str, list[str]]) -> None:
    widths = [max(map(len, (name, *values))) for name, values in columns.items()]
    header = "  ".join(name.rjust(w) for name, w in zip(columns, widths, strict=True))
    file.write(f" AtomData:  {header}\n")
    for row in zip(*columns.values(), strict=True):
        cells = "  ".join(value.rjust(w) for value, w in zip(row, widths, strict=True))
        file.write(f"            {cells}\n")


def _write_stress(file: TextIO, atoms: Atoms, stress: np.ndarray) -> None:
    volume = _volume(atoms)
    if not volume:
        return
    names = "".join(name.rjust(26) for name in STRESS_ORDER)
    values = "".join(_finite(-x * volume, "stress").rjust(26) for x in stress)
    file.write(f" PlusStress:{names[8:]}\n    {values}\n")


def _feature_lines(name: Any, value: Any) -> list[str] | None:
    """The lines of one feature, or None where the format cannot hold it."""
    if not isinstance(name, str) or not name or "\\" in name or name == SPECIES_FEATURE:
        return None
    key = name.replace(" ", "\\_").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    if len(key.split()) != 1 or not key.isprintable():
        return None
    for text in (_plain_text(value), to_json(value)):
        if text is not None and same(value, parse_feature(text)):
            return [f" Feature   {key}\t{line}\n" for line in text.split("\n")]
    return None


def _plain_text(value: Any) -> str | None:
    """The text of a number or a truth value, or text that stands as it is in one or more lines."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (str, int, float)):
        return None
    try:
        lines = str(value).split("\n")
    except ValueError:  # thousands of digits
        return None
    # Blanks at the ends would be lost, and blank lines make no feature.
    kept = all(line and line == line.strip() and line.isprintable() for line in lines)
    return "\n".join(lines) if kept else None
