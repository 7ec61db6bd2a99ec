"""Relaxations that keep a magnetic state: is it still the one that was asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.interfaces.relaxation import relax, uninterrupted
from mmtp_jax.io.atoms import to_atoms
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.response import UnstableStateError
from mmtp_jax.structures.structure import Structure, lengths

TIGHT = {"force_tolerance": 1e-5, "stress_tolerance_GPa": 1e-3, "magnetic_tolerance": 1e-5}
"""Of relaxations before second derivatives are taken."""

MAGNETIC = 0.5
"""Size of a moment from which its loss is noted, mu_B."""

VANISHED = 0.1
"""Share of a moment below which it counts as lost."""


def flipped(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(n,) bool: moments that were there and have the other sign now, or point the other way."""
    start, end = np.asarray(start), np.asarray(end)
    products = (start * end).reshape(len(start), -1).sum(axis=1)
    return (products < 0.0) & (lengths(start) >= MAGNETIC) & ~vanished(start, end)


def vanished(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(n,) bool: moments that were there and are not any more."""
    start, end = lengths(start), lengths(end)
    return (start >= MAGNETIC) & (end < VANISHED * start)


def lost_state(start: np.ndarray, end: np.ndarray) -> str:
    """What has become of the moments, in words; empty where they kept their signs."""
    found, vectors = [], np.ndim(start) > 1
    turned = "have turned by more than 90 degrees" if vectors else "have changed their sign"
    for which, what in ((flipped, turned), (vanished, "have vanished")):
        places = np.flatnonzero(which(start, end))
        if places.size:
            k = int(places[0])
            moment = "" if vectors else f": {start[k]:.3g} to {end[k]:.3g} mu_B"
            found.append(f"{places.size} of {len(start)} moments {what} (atom {k}{moment})")
    return " and ".join(found)


def require_state(name: str, start: np.ndarray, end: np.ndarray) -> None:
    """Raise `UnstableStateError` if moments have flipped or vanished."""
    lost = lost_state(start, end)
    if lost:
        raise UnstableStateError(
            f"{name}: {lost}: the magnetic state that was asked for is no minimum of this "
            "potential here; start from other moments or another volume"
        )


def relaxed_states(
    potential: Potential,
    atoms_list: Sequence[Atoms],
    options: dict[str, Any],
    vectors: bool = False,
) -> list[Structure]:
    """Structures after a tight relaxation that has kept their magnetic states.

    Without ``vectors`` moments must be collinear.

    Raises:
        UnstableStateError: if moments flip or vanish.
        ValueError: if a relaxation does not end.
    """
    atoms_list = list(atoms_list)
    if not vectors:
        # Vectors along one axis become numbers; others are refused.
        structures = [start_structures(potential, [atoms])[0] for atoms in atoms_list]
        atoms_list = [
            to_atoms(structure, None, potential.species, atoms)
            for structure, atoms in zip(structures, atoms_list, strict=True)
        ]
    found = uninterrupted(relax(potential, atoms_list, **{**TIGHT, **options}))
    for result in found:
        name = result.details.start.name
        require_state(name, result.start_magmoms, result.magmoms)
        if not result.converged:
            raise ValueError(f"{name}: not relaxed: {result.message}")
    return [result.details.structure for result in found]
