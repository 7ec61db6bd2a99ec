"""Configurations as they are given to a labeller."""

from __future__ import annotations

from ase import Atoms

from mmtp_jax.interfaces.equilibration import moments_of_results
from mmtp_jax.io.schema import KMESH, MAKING, remove_magnetic_forces, set_moments


def target_of(atoms: Atoms) -> Atoms:
    """The configuration with its moments as targets, and no labels."""
    moments = moments_of_results(atoms)
    copy = atoms.copy()
    copy.calc = None
    remove_magnetic_forces(copy)
    for name in (MAKING, KMESH):
        copy.info.pop(name, None)
    if moments is not None:
        set_moments(copy, moments)
    return copy
