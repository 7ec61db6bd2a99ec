"""From ASE atoms to the arrays that the rest of the program works on.

Every configuration is checked here, once: what passes has finite numbers in the right shapes, and
the code behind it need not look again. Each error names the configuration.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from mmtp_jax.io.fields import shown
from mmtp_jax.io.schema import (
    KMESH,
    MAKING,
    SOURCE,
    Labels,
    along_moments,
    axis_of,
    collapse,
    labels_of,
    tell_of_forces,
)
from mmtp_jax.language import listed, numbers, reason
from mmtp_jax.structures.making import read_making, read_mesh
from mmtp_jax.structures.non_magnetic import for_potential
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential

logger = logging.getLogger(__name__)


def to_structure(
    atoms: Atoms,
    species: Sequence[str],
    name: str | None = None,
    moments: str = "achieved",
    vectors: bool = False,
) -> Structure:
    """One configuration as arrays, with every label that it has.

    Forces are taken without regard to ASE constraints. A stress is taken only where the cell is
    periodic in three directions. Labels of a calculator that belong to other positions, cell or
    moments count as missing. ``atoms.info["weight"]`` is the weight in the loss.

    Args:
        atoms: the configuration; it is not changed.
        species: chemical symbols of the potential, in its order.
        name: what messages call it; by default its ``source`` (see `mmtp_jax.io.reading.read`).
        moments: ``"achieved"``, those of the calculator where it has them and the initial ones
            elsewhere, for labelled data; ``"initial"`` for calculations, whatever the moments
            are that the labels belong to. Without any, zeros that are marked as unknown.
        vectors: moments (n, 3) stay vectors, also along one axis; else those along one axis are
            collinear moments, and others are refused.

    Raises:
        ValueError: if an element is not among the species, moments are noncollinear without
            ``vectors``, a label has a wrong shape or a value that is not finite, or the cell is
            degenerate.
    """
    if moments not in ("achieved", "initial"):
        raise ValueError(f"moments must be 'achieved' or 'initial', got {moments!r}")
    name = name or getattr(atoms, SOURCE, "configuration")
    structure, labels = _converted(atoms, species, name, moments, vectors)
    if moments == "achieved":
        tell_of_forces([labels], [name])
    return structure


def _converted(
    atoms: Atoms, species: Sequence[str], name: str, moments: str, vectors: bool
) -> tuple[Structure, Labels]:
    try:
        labels = labels_of(atoms)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    # In a calculation old results are nothing to speak of; in labelled data they are lost labels.
    if labels.stale and moments == "achieved":
        logger.warning(
            "%s: the results of its calculator are for other positions, cell or initial moments, "
            "and are not used",
            name,
        )
    try:
        return _structure(atoms, tuple(species), name, moments, labels, vectors), labels
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def given_configurations(given: Any, species: Sequence[str]) -> list[Atoms]:
    """Configurations as a list; a file, or several, are read by `mmtp_jax.read`.

    Raises:
        TypeError: if something else is among them.
    """
    if isinstance(given, Atoms):
        return [given]
    if not isinstance(given, (str, os.PathLike)):
        given = list(given) if isinstance(given, Iterable) else [given]
    paths = [given] if isinstance(given, (str, os.PathLike)) else given
    if paths and all(isinstance(path, (str, os.PathLike)) for path in paths):
        from mmtp_jax.io.reading import read

        return read(given, species=species)
    for k, atoms in enumerate(given, 1):
        if not isinstance(atoms, Atoms):
            raise TypeError(
                "configurations must be ase.Atoms, e.g. those of mmtp.read('train.cfg'), or files; "
                f"number {k} is of type {type(atoms).__name__}: {shown(atoms)}"
            )
    return given


def to_structures(
    atoms_list: Iterable[Atoms],
    species: Sequence[str],
    names: Sequence[str] | None = None,
    moments: str = "achieved",
    vectors: bool = False,
) -> list[Structure]:
    """All configurations as arrays; see `to_structure`.

    Args:
        atoms_list: the configurations; they are not changed.
        species: chemical symbols of the potential, in its order.
        names: what messages call them; by default the ``source`` of each, or else its number,
            counted from 1.
        moments: ``"achieved"`` or ``"initial"``.
        vectors: moments (n, 3) stay vectors.

    Raises:
        ValueError: as `to_structure`, or if the number of names is another.
    """
    configurations = list(atoms_list)
    if names is None:
        names = [
            getattr(atoms, SOURCE, f"configuration {k}")
            for k, atoms in enumerate(configurations, 1)
        ]
    if len(names) != len(configurations):
        raise ValueError(f"{len(names)} names for {len(configurations)} configurations")
    if moments not in ("achieved", "initial"):
        raise ValueError(f"moments must be 'achieved' or 'initial', got {moments!r}")
    found = [
        _converted(atoms, species, name, moments, vectors)
        for atoms, name in zip(configurations, names, strict=True)
    ]
    if moments == "achieved":
        tell_of_forces([labels for _, labels in found], names)
    return [structure for structure, _ in found]


def structures_for(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    names: Sequence[str] | None = None,
    moments: str = "achieved",
    vectors: bool = False,
) -> list[Structure]:
    """`to_structures` for a potential, whose non-magnetic species have no moments.

    Raises:
        ValueError: as there; or if moments are vectors, and the potential has no energy of those.

    Warns:
        NonMagneticWarning: if moments of such species are given.
    """
    if vectors and not potential.even:
        # Of these forms vectors along one axis are collinear moments.
        vectors = any(_canted(atoms, moments) for atoms in atoms_list)
    found = to_structures(atoms_list, potential.species, names, moments, vectors)
    given = [structure for structure in found if structure.vectors]
    first = next((s for s in given if potential.even or axis_of(s.magmoms) is None), None)
    if first is not None:
        # Those who only read and label start without JAX.
        from mmtp_jax.potential.vectors import check_vectors

        try:
            check_vectors(potential)
        except ValueError as error:
            raise ValueError(f"{first.name}: {error}") from error
    return for_potential(potential, found)


def _structure(
    atoms: Atoms,
    species: tuple[str, ...],
    name: str,
    kind: str,
    labels: Labels,
    vectors: bool,
) -> Structure:
    size = len(atoms)
    if size == 0:
        raise ValueError("has no atoms")
    periodic = np.array(atoms.pbc, bool)
    results = labels.results
    moments = labels.initial_moments if kind == "initial" else labels.moments
    magmoms = None if moments is None else _moments(moments, size, vectors)
    energy = results.get("energy")
    forces = results.get("forces")
    stress = results.get("stress") if periodic.all() else None
    vectors = np.ndim(magmoms) == 2
    return Structure(
        cell=_cell(atoms, periodic),
        periodic=periodic,
        positions=_array(atoms.positions, (size, 3), "positions"),
        types=_types(atoms, species),
        magmoms=np.zeros(size) if moments is None else magmoms,
        moments_known=moments is not None,
        energy=None if energy is None else float(_array(energy, (), "energy")),
        forces=None if forces is None else _array(forces, (size, 3), "forces"),
        stress=None if stress is None else _stress(stress),
        magnetic_forces=_magnetic_forces(labels, size, vectors),
        transverse=labels.transverse and vectors,
        weight=_weight(atoms.info.get("weight", 1.0)),
        making=read_making(atoms.info.get(MAKING, "")) if results else "",
        kmesh=read_mesh(atoms.info.get(KMESH)) if results else None,
        name=name,
    )


def _canted(atoms: Atoms, kind: str) -> bool:
    labels = labels_of(atoms)
    moments = labels.initial_moments if kind == "initial" else labels.moments
    return moments is not None and collapse(np.asarray(moments)).ndim > 1


def _array(values: Any, shape: tuple[int, ...], what: str, other: str = "") -> np.ndarray:
    try:
        array = np.array(values, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} cannot be read as numbers ({reason(error)})") from error
    if array.shape != shape:
        raise ValueError(f"{what} has {numbers(array.shape)}, expected {numbers(shape)}{other}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{what}: a value is not finite; remove the label or the configuration")
    return array


def _cell(atoms: Atoms, periodic: np.ndarray) -> np.ndarray:
    cell = _array(atoms.cell.array, (3, 3), "cell")
    cell[~periodic] = 0.0
    if np.linalg.matrix_rank(cell) < periodic.sum():
        raise ValueError(
            f"is periodic along {int(periodic.sum())} direction(s), but the cell vectors "
            f"{'; '.join(map(listed, cell[periodic]))} are zero or not independent; set cell or pbc"
        )
    return cell


def _types(atoms: Atoms, species: tuple[str, ...]) -> np.ndarray:
    types = _index_of_numbers(species)[atoms.numbers]
    if types.min() < 0:
        unknown = sorted({chemical_symbols[k] for k in set(atoms.numbers[types < 0].tolist())})
        raise ValueError(f"has {', '.join(unknown)}, but the potential is for {', '.join(species)}")
    return types


@lru_cache
def _index_of_numbers(species: tuple[str, ...]) -> np.ndarray:
    """The index among the species of each atomic number; -1 where it is none of them."""
    index = np.full(len(chemical_symbols), -1, np.int32)
    for k, symbol in enumerate(species):
        if symbol in atomic_numbers:
            index[atomic_numbers[symbol]] = k
    return index


def _moments(moments: np.ndarray, size: int, vectors: bool) -> np.ndarray:
    if vectors and np.shape(moments) == (size, 3):
        return _array(moments, (size, 3), "magnetic moments")
    collinear = collapse(np.asarray(moments))
    if collinear.shape == (size, 3):
        raise ValueError(
            "has noncollinear magnetic moments; give collinear ones here, one number per atom or "
            "one non-zero column (fits, evaluations, grades, equilibration, relaxation, dynamics, "
            "elastic constants and phonons take vectors)"
        )
    return _array(collinear, (size,), "magnetic moments", f" or {numbers((size, 3))}")


def _magnetic_forces(labels: Labels, size: int, vectors: bool) -> np.ndarray | None:
    forces = labels.magnetic_forces
    # Across collinear moments there is no force by symmetry, so this part says nothing.
    if forces is None or (labels.transverse and not vectors):
        return None
    if vectors:
        return _array(forces, (size, 3), "magnetic_forces")
    if forces.shape == (size, 3):
        moments = labels.moments
        axes = moments if moments is not None and moments.shape == forces.shape else None
        forces, _ = along_moments(forces, axes)
        if forces.ndim == 2:
            raise ValueError(
                "magnetic_forces has several components, and the moments do not say which one "
                "to take; give one number per atom"
            )
    return _array(collapse(forces), (size,), "magnetic_forces")


def _stress(stress: Any) -> np.ndarray:
    if np.shape(stress) == (3, 3):
        matrix = _array(stress, (3, 3), "stress")
        if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-8):
            raise ValueError("stress is a matrix that is not symmetric")
        return 0.5 * (matrix + matrix.T)
    if np.shape(stress) != (6,):
        raise ValueError(f"stress has {numbers(np.shape(stress))}, expected 6 or 3 x 3")
    xx, yy, zz, yz, xz, xy = _array(stress, (6,), "stress")
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _weight(value: Any) -> float:
    weight = float(_array(value, (), "weight"))
    if weight < 0.0:
        raise ValueError(f"weight {weight} is negative")
    return weight
