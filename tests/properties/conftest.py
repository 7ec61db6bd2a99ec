"""A potential of iron, relaxed crystals of it, and a strained copy of atoms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp

TIGHT = {
    "force_tolerance": 1e-7,
    "stress_tolerance_GPa": 1e-6,
    "magnetic_tolerance": 1e-8,
}


@pytest.fixture(scope="session")
def tight() -> dict[str, float]:
    """Tolerances of a relaxation whose rest changes no digit that tests look at."""
    return TIGHT


@pytest.fixture(scope="session")
def ferromagnet(iron) -> Atoms:
    """Two atoms of ferromagnetic bcc iron, relaxed."""
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    found = mmtp.relax(iron, atoms, **TIGHT)
    assert found.converged, found.message
    return found.atoms


@pytest.fixture(scope="session")
def strained() -> Callable[..., Atoms]:
    """strained(atoms, voigt): (1 + eps) times cell and positions; shear angles, ASE's order."""

    def of(atoms: Atoms, voigt) -> Atoms:
        xx, yy, zz, yz, xz, xy = voigt
        eps = np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + eps), scale_atoms=True)
        return copy

    return of
