"""Configurations to start from, as they are read or as supercells with their moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential


def read_start(settings: Any, potential: Potential, path: str | None = None) -> list[Atoms]:
    """The configurations that a section of settings names, each repeated as it says.

    Args:
        settings: with ``start`` or ``data``, ``repeat`` and ``keys``.
        potential: whose species they are of.
        path: of the potential, for commands that use the first configuration and watch no grades:
            it is graded by the active set beside the potential, and warned of where that is high.
    """
    from mmtp_jax.cli.console import read_data

    atoms_list = read_data(
        getattr(settings, "start", None) or settings.data,
        potential.species,
        settings,
    )
    if path is not None:
        from mmtp_jax.cli.watched import tell_start

        tell_start(path, potential, atoms_list[0])
    if settings.repeat is None:
        return atoms_list
    return [repeated(atoms, settings.repeat) for atoms in atoms_list]


def repeated(atoms: Atoms, repeat: tuple[int, int, int] | None) -> Atoms:
    """The cell, or a supercell, with its moments; results do not hold for it."""
    from mmtp_jax.interfaces.equilibration import moments_of_results
    from mmtp_jax.io.schema import SOURCE, remove_magnetic_forces, set_moments

    moments = moments_of_results(atoms)
    copy = atoms.copy()
    remove_magnetic_forces(copy)
    if moments is not None:
        set_moments(copy, moments)
    copy = copy if repeat is None else copy.repeat(repeat)
    if hasattr(atoms, SOURCE):
        setattr(copy, SOURCE, getattr(atoms, SOURCE))
    return copy
