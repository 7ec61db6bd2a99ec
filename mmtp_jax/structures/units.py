"""Do labels look as if they were in the program's units?

Files rarely say their units, and a fit to a stress in GPa or to fractional positions fails without
saying why. All-electron energies of thousands of eV per atom are legal: only their spread is
looked at, after what the composition explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from mmtp_jax.structures.neighbours import NeighbourTable
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

LIMITS = {
    "forces": (50.0, "eV/Angstrom"),
    "stress": (3.0, "eV/Angstrom^3 (1 GPa is 0.00624)"),
    "magnetic_forces": (20.0, "eV/mu_B"),
}
"""Root mean square above which a kind of label is doubted, and the unit that is expected."""

LARGEST_MAGMOM = 12.0
"""mu_B; no atom carries more."""

SHORTEST_DISTANCE = 0.4
"""Angstrom; no two nuclei come closer."""

APART = (0.6, 1.5)
"""Nearest neighbours between these multiples of the sum of their covalent radii are plausible:
metals, ionic and covalent crystals and molecules have 0.85 to 1.25, in bohr 1.6 to 2.4."""

NOBLE = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")
"""Bound by dispersion only: their neighbours are far away."""

ENERGY_SPREAD = 20.0
"""eV/atom, standard deviation of what the composition does not explain."""


class UnitsWarning(UserWarning):
    """Labels have a size that points to other units than the program's."""


def doubts(
    structures: Sequence[Structure],
    tables: Sequence[NeighbourTable],
    constants: np.ndarray | None,
    species: Sequence[str] = (),
) -> list[str]:
    """One sentence for each quantity whose size is implausible.

    Args:
        structures: labelled structures.
        tables: their neighbours.
        constants: (S,) energies of the species that fit the compositions best, or None.
        species: (S,) chemical symbols; without them distances are not held against radii.
    """
    found = []
    shortest = min((float(table.lengths.min(initial=np.inf)) for table in tables), default=np.inf)
    if shortest < SHORTEST_DISTANCE:
        found.append(
            f"the shortest distance is {shortest:.3g} Angstrom; are positions and cells in "
            "Angstrom, and not fractional?"
        )
    elif species:
        found += _distances(structures, tables, species)
    largest = max((float(s.lengths.max()) for s in structures), default=0.0)
    if largest > LARGEST_MAGMOM:
        found.append(f"the largest moment is {largest:.3g}; are moments in mu_B?")
    for kind, (limit, unit) in LIMITS.items():
        labels = [np.ravel(getattr(s, kind)) for s in structures if getattr(s, kind) is not None]
        rms = float(np.sqrt(np.mean(np.concatenate(labels) ** 2))) if labels else 0.0
        if rms > limit:
            name = {"stress": "stresses"}.get(kind, kind.replace("_", " "))
            found.append(f"{name} have a root mean square of {rms:.3g}; are they in {unit}?")
    if constants is not None:
        rest = [
            (s.energy - constants[s.types].sum()) / len(s)
            for s in structures
            if s.energy is not None
        ]
        spread = float(np.std(rest))
        if spread > ENERGY_SPREAD:
            found.append(
                f"energies of like compositions differ by {spread:.3g} eV/atom; are they total "
                "energies in eV, all from the same kind of calculation?"
            )
    return found


def warn_of_units(
    structures: Sequence[Structure],
    tables: Sequence[NeighbourTable],
    constants: np.ndarray | None,
    species: Sequence[str] = (),
) -> None:
    """Issue the `doubts` as `UnitsWarning`."""
    for message in doubts(structures, tables, constants, species):
        warn(message, UnitsWarning)


def _distances(
    structures: Sequence[Structure], tables: Sequence[NeighbourTable], species: Sequence[str]
) -> list[str]:
    """Nearest neighbours in units of the sum of their covalent radii."""
    radii = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in species])
    far = {k for k, symbol in enumerate(species) if symbol in NOBLE}
    low, high = APART
    ratios, names = [], []
    for structure, table in zip(structures, tables, strict=True):
        if not table.index.size or far & set(structure.types.tolist()):
            continue
        own = radii[structure.types]
        sums = own[:, None] + own[table.index]
        ratio = np.linalg.norm(table.vectors, axis=1) / sums
        ratios.append(float(np.where(table.index >= 0, ratio, np.inf).min()))
        names.append(structure.name)
    close = [k for k, ratio in enumerate(ratios) if ratio < low]
    if close:
        worst = min(close, key=ratios.__getitem__)
        return [
            f"{len(close)} of {len(ratios)} configurations have atoms closer than {low:g} times "
            f"the sum of their covalent radii (least {ratios[worst]:.2f}, in {names[worst]}); are "
            "positions and cells in Angstrom?"
        ]
    middle = float(np.median(ratios)) if ratios else 1.0
    if high < middle < np.inf:
        return [
            f"nearest neighbours are {middle:.2f} times the sum of their covalent radii apart (the "
            "median of the configurations), where crystals and molecules have about 1; are "
            "positions and cells in bohr? They must be in Angstrom: 1 bohr is 0.529177 Angstrom"
        ]
    return []
