"""Supercells of what was read, with their moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms


def repeated(atoms: Atoms, repeat: tuple[int, int, int] | None) -> Atoms:
    """The cell, or a supercell, with its moments; results do not hold for it."""
    from mmtp_jax.interfaces.equilibration import moments_of_results
    from mmtp_jax.io.schema import set_moments

    moments = moments_of_results(atoms)
    copy = atoms.copy()
    if moments is not None:
        set_moments(copy, moments)
    return copy if repeat is None else copy.repeat(repeat)
