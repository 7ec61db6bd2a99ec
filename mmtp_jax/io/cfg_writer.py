"""Configurations in MLIP's ``.cfg`` text format: the writer; see `mmtp_jax.io.cfg`."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np
from ase import Atoms

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.cfg_atoms import SPECIES_FEATURE, check_species
from mmtp_jax.io.cfg_sections import STRESS_ORDER, VECTORS
from mmtp_jax.io.schema import (
    MAGNETIC_FORCES,
    Labels,
    along_moments,
    collapse,
    labels_of,
)

logger = logging.getLogger(__name__)

_EXTRA_COLUMNS = ("charge", "nbh_grades")
"""Arrays for which MLIP has a column of the same name; it refuses any other."""
_NOT_LOST = {"numbers", "positions", "initial_magmoms", MAGNETIC_FORCES, "id", *_EXTRA_COLUMNS}


def write_cfg(
    path: str | os.PathLike,
    atoms_list: Atoms | Iterable[Atoms],
    species: Sequence[str] | str | None = None,
) -> None:
    """Write configurations with their labels; the file appears whole or not at all.

    Numbers are written so that reading gives the same bits (the stress, which goes through the
    volume, to rounding). Moments, the achieved ones where the calculator has them and the
    initial ones elsewhere, are in ``magmom_x``, magnetic forces in ``en_der_mx`` with the sign
    of data sets, T = -dE/dm. Results of a calculator that belong to other positions or moments
    are not written. Entries of ``info`` become features; what the format cannot hold (arrays,
    per-atom arrays that MLIP does not know, the vector of a direction that is not periodic) is
    left out and named in the log.

    Args:
        path: the file.
        atoms_list: the configurations, which are not changed.
        species: symbols of the types 0, 1, ...; by default in the order of first appearance.

    Raises:
        ValueError: if an atom is of another species or a label is not finite.
    """
    configurations = [atoms_list] if isinstance(atoms_list, Atoms) else list(atoms_list)
    symbols = check_species(species)
    if symbols is None:
        symbols = tuple(dict.fromkeys(s for atoms in configurations for s in atoms.symbols))
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        write_cfg_text(file, configurations, symbols, os.fspath(path))


def write_cfg_text(
    file: TextIO, configurations: Sequence[Atoms], species: Sequence[str], name: str
) -> None:
    """Write configurations to an open file; messages call it ``name``. See `write_cfg`."""
    lost: Counter[str] = Counter()
    for k, atoms in enumerate(configurations, 1):
        try:
            _write_one(file, atoms, tuple(species), lost)
        except ValueError as error:
            raise ValueError(f"cannot write {name}, configuration {k}: {error}") from error
    for what, count in lost.items():
        logger.warning("%s: %s of %d configurations is left out", name, what, count)


def _write_one(file: TextIO, atoms: Atoms, species: tuple[str, ...], lost: Counter[str]) -> None:
    labels = labels_of(atoms)
    results = labels.results
    if labels.stale:
        lost["the result of calculators for other positions or moments"] += 1
    file.write(f"BEGIN_CFG\n Size\n{len(atoms):6d}\n")
    periodic = np.flatnonzero(atoms.pbc)
    if len(periodic):
        file.write(" Supercell\n")
        rows = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)[: periodic[-1] + 1]
        for row in rows:
            file.write("    " + " ".join(f"{_number(x):>22}" for x in row) + "\n")
    if np.any(atoms.cell.array[~atoms.pbc]):
        lost["the cell vector of directions that are not periodic"] += 1
    _write_atom_data(file, _columns(atoms, species, labels))
    if "energy" in results:
        file.write(f" Energy\n    {_finite(results['energy'], 'energy')}\n")
    if "stress" in results:
        _write_stress(file, atoms, np.asarray(results["stress"], float), lost)
    if species:
        file.write(f" Feature   {SPECIES_FEATURE}\t{' '.join(species)}\n")
    for name, value in atoms.info.items():
        lines = _feature_lines(name, value)
        if lines is None:
            lost[f"info[{name!r}]"] += 1
        else:
            file.writelines(lines)
    for name in atoms.arrays.keys() - _NOT_LOST:
        lost[f"arrays[{name!r}]"] += 1
    file.write("END_CFG\n\n")


def _columns(atoms: Atoms, species: tuple[str, ...], labels: Labels) -> dict[str, list[str]]:
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
        _add(columns, VECTORS["moments"], _vectors(moments), "moments")
    if forces is not None:
        if forces.ndim == 2 and moments is not None and moments.shape == forces.shape:
            forces, _ = along_moments(forces, moments)
        _add(columns, VECTORS["gradient"], _vectors(forces), "magnetic forces")
    if "energies" in results:
        _add(columns, ("site_en",), results["energies"], "energies")
    for name in _EXTRA_COLUMNS:
        if name in atoms.arrays:
            _add(columns, (name,), atoms.arrays[name], name)
    return columns


def _type(symbol: str, species: tuple[str, ...]) -> str:
    try:
        return str(species.index(symbol))
    except ValueError:
        raise ValueError(
            f"an atom is {symbol}, but the species are {species!r}; add it to species"
        ) from None


def _vectors(values: np.ndarray) -> np.ndarray:
    """Collinear values as vectors along x; noncollinear ones as they are."""
    values = collapse(np.asarray(values, float))
    if values.ndim == 2:
        return values
    vectors = np.zeros((len(values), 3))
    vectors[:, 0] = values
    return vectors


def _add(columns: dict[str, list[str]], names: Sequence[str], values: Any, what: str) -> None:
    size = len(columns["id"])
    values = np.asarray(values, float)
    if values.shape not in {(size, len(names)), (size, len(names))[: len(names)]}:
        raise ValueError(f"{what} has shape {values.shape} for {size} atoms")
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


def _write_stress(file: TextIO, atoms: Atoms, stress: np.ndarray, lost: Counter[str]) -> None:
    volume = abs(np.linalg.det(atoms.cell.array))
    if not atoms.pbc.all() or volume == 0.0:
        lost["the stress of a cell without volume"] += 1
        return
    if stress.shape == (3, 3):
        stress = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    if stress.shape != (6,):
        raise ValueError(f"stress has shape {stress.shape}, expected (6,) or (3, 3)")
    names = "".join(name.rjust(26) for name in STRESS_ORDER)
    values = "".join(_finite(-x * volume, "stress").rjust(26) for x in stress)
    file.write(f" PlusStress:{names[8:]}\n    {values}\n")


def _feature_lines(name: Any, value: Any) -> list[str] | None:
    """The lines of one feature, or None where the format cannot hold it."""
    if not isinstance(name, str) or not name or "\\" in name or name == SPECIES_FEATURE:
        return None
    if not isinstance(value, (str, int, float, np.str_, np.bool_, np.integer, np.floating)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    lines = str(value).split("\n")
    # Blanks at the ends would be lost, and blank lines make no feature.
    if any(line != line.strip() or not line or "\r" in line for line in lines):
        return None
    key = name.replace(" ", "\\_").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    if len(key.split()) != 1:
        return None
    return [f" Feature   {key}\t{line}\n" for line in lines]
